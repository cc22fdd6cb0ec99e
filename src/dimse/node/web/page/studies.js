// The list of studies, and a study.

import { counted, dateText, el, empty, failure, heading, main, momentText, nameText, sizeText, timeText, where } from "./elements.js";
import { ask, get, url } from "./requests.js";
import { showSeries } from "./viewer.js";

const FIELDS = [
  ["name", "Patient name", "search"], ["patient_id", "Patient ID", "search"], ["accession", "Accession number", "search"],
  ["first_date", "From", "date"], ["last_date", "To", "date"], ["modality", "Modality", "search"],
  ["description", "Study description", "search"],
];
/** Keys that a phone shows when they are asked for. */
const SELDOM = new Set(["first_date", "last_date", "modality", "description"]);
/** The list that was seen last: going back to it is instant, and where it was. */
let listed = { key: null, studies: [], after: null, top: 0 };

/** Search for studies: the list with these keys is the next entry of the history. */
export function search(keys) {
  listed.key = null;
  if (String(keys) !== String(keysSought())) history.pushState({ keys: String(keys) }, "", "#/");
  window.dispatchEvent(new PopStateEvent("popstate"));
}

const keysSought = () => new URLSearchParams(history.state?.keys || "");

function searchForm(query) {
  const fields = FIELDS.map(([key, label, type]) => el("label", { className: key === "name" ? "wide" : SELDOM.has(key) && "seldom" }, label,
    el("input", { name: key, type, value: query.get(key) || "", autocomplete: "off", spellcheck: "false", max: type === "date" && "9999-12-31" })));
  const hasSeldom = [...query.keys()].some((key) => SELDOM.has(key));
  const showAll = () => form.classList.add("all");
  const form = el("form", { className: `search ${hasSeldom ? "all" : ""}`, role: "search" }, fields, el("div", { className: "actions" },
    el("button", { className: "primary" }, "Search"), el("button", { type: "button", className: "keys", onclick: showAll }, "More keys"),
    query.size ? el("button", { type: "button", className: "clear", onclick: () => search(new URLSearchParams()) }, "Clear") : ""));
  form.onsubmit = (event) => {
    event.preventDefault();
    search(new URLSearchParams([...new FormData(form)].map(([key, value]) => [key, value.trim()]).filter(([, value]) => value)));
  };
  return form;
}

function keysOf(query) {
  const keys = Object.fromEntries(query);
  for (const key of ["first_date", "last_date"]) if (keys[key]) keys[key] = Number(keys[key].replaceAll("-", ""));
  if (keys.modality) keys.modality = keys.modality.toUpperCase();
  return keys;
}

/** Why the list is empty. IDs are compared whole, which surprises those who type the beginning of one. */
function noneText(query) {
  if (!query.size) return "The archive is empty: send instances to it, or import them.";
  const whole = ["patient_id", "accession"].map((key) => query.get(key)).find((text) => text && !/[*?]/.test(text));
  return `No study matches.${whole ? ` To find what begins so, write ${whole}*.` : ""}`;
}

export async function studiesView({ signal }) {
  const query = keysSought();
  const body = el("tbody");
  const heads = ["Patient", "ID", "Date", "Modality", "Description", "Accession"].map((each) => el("th", {}, each));
  const table = el("table", { className: "cards", hidden: true }, el("thead", {}, el("tr", {}, heads,
    el("th", { className: "number" }, "Series"), el("th", { className: "number" }, "Instances"))), body);
  const more = el("button", { className: "more", hidden: true }, "More studies");
  const said = el("div", { "aria-live": "polite" });
  main.append(heading("Studies"), searchForm(query), table, said, more);

  const key = query.toString();
  const isKept = listed.key === key;
  if (!isKept) listed = { key, studies: [], after: null, top: 0 };
  const state = listed;
  let isLoading = false;

  const put = (studies) => {
    body.append(...studies.map(studyRow));
    table.hidden = !state.studies.length;
    more.hidden = !state.after;
  };
  const load = async () => {
    if (isLoading) return;
    isLoading = more.disabled = true;
    try {
      const found = await ask("/api/search", { ...keysOf(query), after: state.after }, signal).then((each) => each.json());
      state.studies.push(...found.studies);
      state.after = found.after;
      put(found.studies);
      said.replaceChildren(...(state.studies.length ? [] : [empty(noneText(query))]));
    } catch (error) {
      if (signal.aborted) return;
      state.key = null;
      said.replaceChildren(failure(error));
    } finally {
      isLoading = more.disabled = false;
      watch();
    }
  };
  more.onclick = load;
  const watcher = new IntersectionObserver((seen) => { if (seen.some((each) => each.isIntersecting)) load(); }, { rootMargin: "600px" });
  const watch = () => { watcher.disconnect(); if (!signal.aborted) watcher.observe(more); }; // tells at once if it is seen already
  signal.addEventListener("abort", () => { state.top = window.scrollY; watch(); });
  if (isKept && state.studies.length) {
    const top = state.top;
    put(state.studies);
    window.scrollTo(0, top);
    watch();
  } else await load();
}

function studyRow(study) {
  const cell = (text, name, className) => el("td", { "data-name": name, className }, text || "");
  return el("tr", { className: "link" },
    el("td", { className: "whole" }, el("a", { href: where(study.uid) }, nameText(study.name))),
    cell(study.patient_id, "ID"),
    cell(dateText(study.date), undefined, "date"),
    el("td", {}, study.modalities.map((each) => el("span", { className: "badge" }, each))),
    cell(study.description, undefined, "whole"),
    cell(study.accession, "Accession"),
    cell(String(study.series_count), "Series", "number"),
    cell(study.instance_count.toLocaleString("en"), "Instances", "number"));
}

// ---- A study

function facts(pairs) {
  return el("dl", { className: "facts" }, pairs.filter(([, value]) => value)
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

export async function studyView({ rest: [uid, seriesUid], signal }) {
  const study = await get(`/api/studies/${encodeURIComponent(uid)}`, signal);
  if (seriesUid) return showSeries(study, seriesUid, signal);
  main.append(heading(nameText(study.name), "Study"), facts([
    ["ID", study.patient_id], ["Born", dateText(study.birth_date)], ["Sex", study.sex],
    ["Study", `${dateText(study.date)} ${timeText(study.time)}`.trim()], ["Description", study.description],
    ["Accession", study.accession], ["Instances", study.instance_count.toLocaleString("en")], ["Size", sizeText(study.bytes)],
    ["State", stateText(study)],
  ]));
  const cards = study.series.map((series) => el("li", {}, el("a", { href: where(uid, series.uid) },
    el("div", { className: "thumb" }, thumbnail(uid, series)),
    el("div", { className: "says" }, el("b", {}, series.description || "No description"),
      el("div", { className: "soft" }, [series.modality, series.number === null ? "" : `no. ${series.number}`,
        counted(series.instance_count, "instance")].filter(Boolean).join(" · "))))));
  main.append(el("h2", {}, counted(study.series.length, "series", "series")), el("ul", { className: "grid" }, cards));
}

const SETTLED = {
  mpps: "its procedure steps have ended", count: "all instances that were announced are here", "association-end": "its senders have ended",
  quiet: "nothing more has come", reindex: "the index was rebuilt",
};

function stateText({ settled_at: at, settled_because: because }) {
  if (at === null) return "More may come";
  return `Settled ${momentText(at)}: ${SETTLED[because] || because}`;
}

function thumbnail(uid, series) {
  const image = el("img", { alt: "", loading: "lazy", src: url(`/api/studies/${uid}/series/${series.uid}/thumbnail`) });
  image.onerror = () => image.replaceWith(`${series.modality || ""} no picture`.trim());
  return image;
}
