// The page of a node. Its views, by the part of the address behind "#", which no server sees: it may have names.

const main = document.getElementById("main");

// ---- Elements, texts, requests

/** An element. `properties` with a hyphen or `for`, `role`, `href` and the like are attributes. */
function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on") || key === "value" || key === "disabled" || key === "hidden") made[key] = value;
    else made.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

class Problem extends Error {}

async function ask(path, body, signal) {
  const options = body === undefined ? { signal } :
    { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal };
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The node does not answer. Is it running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Problem(sentence(said.problem || `The node answered ${response.status}`));
}
const get = async (path, signal) => (await ask(path, undefined, signal)).json();
const post = async (path, body) => (await ask(path, body)).json();

const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
const counted = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

function dateText(number) {
  if (!number) return "";
  const text = String(number).padStart(8, "0");
  return `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
}

function timeText(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  const seconds = Math.floor(milliseconds / 1000);
  return [seconds / 3600, (seconds / 60) % 60].map((each) => String(Math.floor(each)).padStart(2, "0")).join(":");
}

function sizeText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** A person's name (PS3.5 6.2.1): family name, given names; the ideographic group behind the alphabetic one. */
function nameText(name) {
  const groups = name.split("=").map((group) => {
    const [family, ...given] = group.split("^").map((part) => part.trim());
    return [family, given.slice(0, 2).filter(Boolean).join(" ")].filter(Boolean).join(", ");
  });
  return groups.filter(Boolean).slice(0, 2).join(" · ") || "No name";
}

const where = (study, series) =>
  `#/study/${encodeURIComponent(study)}${series ? `/${encodeURIComponent(series)}` : ""}`;
const failure = (error) => el("p", { className: "failure", role: "alert" }, error.message);
const empty = (...text) => el("p", { className: "empty" }, ...text);

// ---- Views: each is given the parts of the address, an element and a signal that aborts when it is left

const VIEWS = { "": studiesView, study: studyView, transfers: transfersView, peers: peersView, events: eventsView };
let leave = new AbortController();

async function show() {
  leave.abort();
  leave = new AbortController();
  const signal = leave.signal;
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/").map(decodeURIComponent);
  const view = VIEWS[name] || nothingView;
  for (const link of document.querySelectorAll("nav a")) {
    const is = link.getAttribute("href") === (name === "study" ? "#/" : `#/${name}`);
    if (is) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  window.scrollTo(0, 0);
  try {
    await view({ rest, query: new URLSearchParams(query), signal });
  } catch (error) {
    if (signal.aborted) return;
    main.append(failure(error));
    if (!(error instanceof Problem)) throw error;
  }
}

function heading(text) {
  const made = el("h1", { tabindex: "-1" }, text);
  document.title = `${text} – dimse`;
  return made;
}

/** Run `work` now and then again and again, while the view lasts and the page is seen. */
function repeat(work, seconds, signal) {
  const turn = async () => {
    if (signal.aborted) return;
    if (!document.hidden) await work().catch((error) => { if (!signal.aborted) console.warn(error.message); });
    if (!signal.aborted) setTimeout(turn, seconds * 1000);
  };
  return turn();
}

async function nothingView() {
  main.append(heading("Nothing here"), empty("There is no such page. ", el("a", { href: "#/" }, "To the studies")));
}

// ---- Studies

const FIELDS = [
  ["name", "Patient name", "search"], ["patient_id", "Patient ID", "search"], ["accession", "Accession number", "search"],
  ["first_date", "From", "date"], ["last_date", "To", "date"], ["modality", "Modality", "search"],
  ["description", "Study description", "search"],
];
/** The list that was seen last: going back to it is instant, and where it was. */
let listed = { key: null, studies: [], after: null, top: 0 };

function searchForm(query) {
  const fields = FIELDS.map(([key, label, type]) => el("label", { className: key === "name" ? "wide" : "" }, label,
    el("input", { name: key, type, value: query.get(key) || "", autocomplete: "off", spellcheck: "false" })));
  const form = el("form", { className: "search", role: "search" }, fields, el("div", { className: "actions" },
    el("button", { className: "primary" }, "Search"),
    query.size ? el("a", { className: "button", href: "#/" }, "Clear") : ""));
  form.onsubmit = (event) => {
    event.preventDefault();
    const keys = new URLSearchParams([...new FormData(form)].map(([key, value]) => [key, value.trim()]).filter(([, value]) => value));
    const hash = keys.size ? `#/?${keys}` : "#/";
    listed.key = null;
    if (location.hash === hash) show(); else location.hash = hash;
  };
  return form;
}

function keysOf(query) {
  const keys = Object.fromEntries(query);
  for (const key of ["first_date", "last_date"]) if (keys[key]) keys[key] = Number(keys[key].replaceAll("-", ""));
  if (keys.modality) keys.modality = keys.modality.toUpperCase();
  return keys;
}

async function studiesView({ query, signal }) {
  const body = el("tbody");
  const heads = ["Patient", "ID", "Date", "Modality", "Description", "Accession"].map((each) => el("th", {}, each));
  const table = el("table", { className: "cards", hidden: true }, el("thead", {}, el("tr", {}, heads,
    el("th", { className: "number" }, "Series"), el("th", { className: "number" }, "Images"))), body);
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
      said.replaceChildren(...(state.studies.length ? [] : [empty(query.size ? "No study matches." : "The archive is empty: send instances to it, or import them.")]));
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
    cell(dateText(study.date)),
    el("td", {}, study.modalities.map((each) => el("span", { className: "badge" }, each))),
    cell(study.description, undefined, "whole"),
    cell(study.accession, "Accession"),
    cell(String(study.series_count), "Series", "number"),
    cell(study.instance_count.toLocaleString("en"), "Images", "number"));
}

// ---- A study

function facts(pairs) {
  return el("dl", { className: "facts" }, pairs.filter(([, value]) => value)
    .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}

async function studyView({ rest: [uid, seriesUid], signal }) {
  const study = await get(`/api/studies/${encodeURIComponent(uid)}`, signal);
  if (seriesUid) return seriesView(study, seriesUid, signal);
  main.append(heading(nameText(study.name)), facts([
    ["ID", study.patient_id], ["Born", dateText(study.birth_date)], ["Sex", study.sex],
    ["Study", `${dateText(study.date)} ${timeText(study.time)}`.trim()], ["Description", study.description],
    ["Accession", study.accession], ["Images", study.instance_count.toLocaleString("en")], ["Size", sizeText(study.bytes)],
  ]));
  const cards = study.series.map((series) => el("li", {}, el("a", { href: where(uid, series.uid) },
    el("div", { className: "thumb" }, thumbnail(uid, series)),
    el("div", { className: "says" }, el("b", {}, series.description || "No description"),
      el("div", { className: "soft" }, [series.modality, series.number === null ? "" : `no. ${series.number}`,
        counted(series.instance_count, "image")].filter(Boolean).join(" · "))))));
  main.append(el("h2", {}, counted(study.series.length, "series", "series")), el("ul", { className: "grid" }, cards));
}

function thumbnail(uid, series) {
  const image = el("img", { alt: "", loading: "lazy", src: `/api/studies/${uid}/series/${series.uid}/thumbnail` });
  image.onerror = () => image.replaceWith(`${series.modality || ""} no picture`.trim());
  return image;
}

// ---- A series: the viewer

const PRESETS = [["Soft tissue", 40, 400], ["Lung", -600, 1500], ["Bone", 300, 1500], ["Brain", 40, 80], ["Liver", 60, 160]];
const KEPT_PICTURES = 100;
const MAX_STACK = 20000;

async function seriesView(study, seriesUid, signal) {
  const base = `/api/studies/${study.uid}/series/${encodeURIComponent(seriesUid)}`;
  const { instances } = await get(base, signal);
  const series = study.series.find((each) => each.uid === seriesUid) || {};
  new Viewer(study, series, base, stackOf(instances), signal);
}

/** The frames of the instances, one after another. A number of frames is what the file says: it may be absurd. */
function stackOf(instances) {
  const stack = [];
  for (const each of instances) {
    const frames = each.is_image ? each.frames : 1;
    for (let frame = 1; frame <= frames && stack.length < MAX_STACK; frame++)
      stack.push({ uid: each.uid, frame, isImage: each.is_image, kind: each.kind });
  }
  return stack;
}

/** Shows the images of a stack. There is one request at a time; what was asked for meanwhile comes next. */
class Viewer {
  constructor(study, series, base, stack, signal) {
    Object.assign(this, { base, stack, signal, at: 0, window: null, own: null, kept: new Map(), isAsking: false, isStale: false });
    this.build(study, series);
    this.listen();
    this.go(Math.floor(stack.length / 2));
  }

  build(study, series) {
    const number = (label, id) => el("label", {}, label, el("input", { type: "number", id, step: "any" }));
    this.center = number("Center", "center");
    this.width = number("Width", "width");
    const presets = series.modality === "CT" ? PRESETS : [];
    this.preset = el("label", { className: "preset" }, "Window", el("select", {}, el("option", { value: "" }, "Of the image"),
      presets.map(([name, center, width]) => el("option", { value: `${center},${width}` }, name)),
      el("option", { value: "own", hidden: true }, "Own")));
    this.tagsButton = el("button", { "aria-expanded": "false", onclick: () => this.toggleTags() }, "Tags");
    this.canvas = el("canvas");
    this.says = el("div", { className: "says", role: "status" });
    this.place = el("div", { className: "over bl" });
    this.level = el("div", { className: "over br" });
    this.stage = el("div", { className: "stage", tabindex: "0", role: "group", "aria-label": "Image: arrow keys go through the stack, dragging changes the window" },
      this.canvas, this.says, el("div", { className: "over tl" }, [nameText(study.name), dateText(study.date)].filter(Boolean).join("\n")), this.place, this.level);
    this.slider = el("input", { type: "range", min: "0", max: String(this.stack.length - 1), "aria-label": "Image of the stack" });
    this.tags = el("section", { className: "tags", "aria-label": "Tags", hidden: true });
    const step = (text, label, by) => el("button", { "aria-label": label, onclick: () => this.go(this.at + by) }, text);
    this.stackBar = el("div", { className: "stack", hidden: this.stack.length < 2 }, step("‹", "Image before", -1), this.slider, step("›", "Next image", 1));
    const title = heading(series.description || `${series.modality || ""} series`.trim());
    main.append(el("div", { className: "viewer" },
      el("div", { className: "bar" }, title, el("a", { className: "button", href: where(study.uid) }, "‹ Study"), this.preset, this.center, this.width, this.tagsButton),
      this.stage, this.stackBar, this.tags));
    this.stage.focus({ preventScroll: true });
  }

  listen() {
    const signal = this.signal;
    const on = (target, name, handler, options = {}) => target.addEventListener(name, handler, { signal, ...options });
    on(this.stage, "wheel", (event) => { event.preventDefault(); this.wheel(event.deltaY * (event.deltaMode ? 40 : 1)); }, { passive: false });
    on(this.stage, "keydown", (event) => this.key(event));
    on(this.slider, "input", () => this.go(Number(this.slider.value)));
    on(this.preset, "change", (event) => this.setWindow(event.target.value ? event.target.value.split(",").map(Number) : null));
    for (const label of [this.center, this.width]) on(label, "change", () => this.typed());
    on(this.stage, "pointerdown", (event) => this.drag(event));
    on(this.stage, "dblclick", () => this.setWindow(null));
    const size = new ResizeObserver(() => this.resized());
    size.observe(this.stage);
    on(signal, "abort", () => size.disconnect(), {});
  }

  wheel(delta) {
    this.rolled = (this.rolled || 0) + delta;
    const steps = Math.trunc(this.rolled / 40);
    if (steps) { this.rolled -= steps * 40; this.go(this.at + steps); }
  }

  key(event) {
    const last = this.stack.length - 1;
    const to = { ArrowDown: this.at + 1, ArrowRight: this.at + 1, ArrowUp: this.at - 1, ArrowLeft: this.at - 1, PageDown: this.at + 10, PageUp: this.at - 10, Home: 0, End: last }[event.key];
    if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    this.go(to);
  }

  drag(down) {
    if (down.button || !this.own) return;
    this.stage.setPointerCapture(down.pointerId);
    const [center, width] = this.window || this.own;
    const speed = Math.max(width, this.own[1] / 100) / 300;
    const move = (event) => this.setWindow([center + (event.clientY - down.clientY) * speed, Math.max(this.least(), width + (event.clientX - down.clientX) * speed)]);
    this.stage.addEventListener("pointermove", move);
    for (const name of ["pointerup", "pointercancel"]) this.stage.addEventListener(name, () => this.stage.removeEventListener("pointermove", move), { once: true });
  }

  /** The least width of a window: the values of some images are all below 1. */
  least() {
    return Math.min(1, this.own[1] / 1000);
  }

  typed() {
    const [center, width] = [this.center, this.width].map((label) => Number(label.lastChild.value));
    if (Number.isFinite(center) && width > 0) this.setWindow([center, width]);
  }

  setWindow(window) {
    this.window = window && window.map((each) => Number(each.toPrecision(6)));
    const select = this.preset.lastChild, value = this.window ? this.window.join(",") : "";
    select.value = [...select.options].some((each) => each.value === value) ? value : "own";
    this.ask();
  }

  resized() {
    const scale = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.stage.clientWidth * scale);
    this.canvas.height = Math.round(this.stage.clientHeight * scale);
    if (this.shown) this.draw(this.shown);
    this.ask();
  }

  go(to) {
    this.at = Math.max(0, Math.min(this.stack.length - 1, to));
    this.slider.value = this.at;
    const item = this.stack[this.at];
    this.place.textContent = this.stack.length > 1 ? `Image ${this.at + 1} of ${this.stack.length}` : item.kind;
    if (!this.tags.hidden) this.loadTags();
    this.ask();
  }

  url(at) {
    const { uid, frame } = this.stack[at];
    const size = Math.min(4096, Math.ceil(Math.max(this.canvas.width, this.canvas.height, 1) / 256) * 256);
    const window = this.window ? `&window=${this.window.join(",")}` : "";
    return `${this.base}/instances/${uid}/frames/${frame}?size=${size}${window}`;
  }

  async ask() {
    this.isStale = true;
    if (this.isAsking) return;
    this.isAsking = true;
    while (this.isStale && !this.signal.aborted) {
      this.isStale = false;
      const url = this.url(this.at), item = this.stack[this.at];
      try {
        if (!item.isImage) throw new Problem(`${item.kind}: it has no image. Its tags have its content.`);
        this.draw(await this.picture(url));
      } catch (error) {
        if (this.signal.aborted) return;
        this.fail(error);
      }
      if (!this.isStale) await this.prefetch();
    }
    this.isAsking = false;
  }

  async picture(url) {
    let found = this.kept.get(url);
    if (!found) {
      const response = await ask(url, undefined, this.signal);
      const window = response.headers.get("X-Window");
      found = { bitmap: await createImageBitmap(await response.blob()), window: window && window.split(",").map(Number) };
    }
    this.kept.delete(url);
    this.kept.set(url, found); // the last one used
    if (this.kept.size > KEPT_PICTURES) this.kept.delete(this.kept.keys().next().value);
    return found;
  }

  /** The images around this one, as long as no other is asked for. */
  async prefetch() {
    for (const by of [1, -1, 2, -2, 3]) {
      const at = this.at + by;
      if (this.isStale || this.signal.aborted) return;
      if (this.stack[at]?.isImage) await this.picture(this.url(at)).catch(() => {});
    }
  }

  draw(picture) {
    this.shown = picture;
    this.says.textContent = "";
    const { canvas } = this, context = canvas.getContext("2d"), { bitmap } = picture;
    const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
    const [width, height] = [bitmap.width * scale, bitmap.height * scale];
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.drawImage(bitmap, (canvas.width - width) / 2, (canvas.height - height) / 2, width, height);
    this.tell(picture.window);
  }

  tell(window) {
    if (!this.window) this.own = window;
    for (const label of [this.center, this.width, this.preset]) label.lastChild.disabled = !window;
    const short = (number) => (window[1] < 20 ? Number(number.toPrecision(3)) : Math.round(number));
    this.level.textContent = window ? `C ${short(window[0])}  W ${short(window[1])}` : "Color";
    if (!window) return;
    if (document.activeElement !== this.center.lastChild) this.center.lastChild.value = window[0];
    if (document.activeElement !== this.width.lastChild) this.width.lastChild.value = window[1];
  }

  fail(error) {
    this.shown = null;
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.tell(null);
    this.level.textContent = "";
    this.says.textContent = error.message;
  }

  toggleTags() {
    this.tags.hidden = !this.tags.hidden;
    this.tagsButton.setAttribute("aria-expanded", String(!this.tags.hidden));
    if (this.tags.hidden) return;
    this.tags.scrollIntoView({ block: "nearest" });
    this.loadTags();
  }

  async loadTags() {
    const uid = this.stack[this.at].uid;
    if (this.tagsOf === uid) return;
    this.tagsOf = uid;
    try {
      const { tags } = await get(`${this.base}/instances/${uid}/tags`, this.signal);
      if (this.tagsOf === uid) this.putTags(tags);
    } catch (error) {
      if (!this.signal.aborted) this.tags.replaceChildren(failure(error));
    }
  }

  putTags(tags) {
    const tree = el("div", { className: "tree" });
    const wanted = this.tags.querySelector("input")?.value || "";
    const find = el("input", { type: "search", placeholder: "Find a tag, name or value", "aria-label": "Find in the tags", value: wanted });
    const put = () => tree.replaceChildren(...tagNodes(tags, find.value.trim().toLowerCase()));
    find.oninput = put;
    put();
    this.tags.replaceChildren(el("div", { className: "find" }, find), tree);
  }
}

/** The elements that match, with those that contain them. */
function tagNodes(tags, wanted) {
  return tags.flatMap((each) => {
    const head = [el("code", {}, `${each.tag} ${each.vr}`), ` ${each.name}`];
    const fits = `${each.tag} ${each.tag.replace(/[(),]/g, "")} ${each.name} ${each.value}`.toLowerCase().includes(wanted);
    if (!each.items) return fits ? [el("div", { className: "tag" }, head, el("span", { className: "value" }, each.value))] : [];
    const inside = each.items.map((item) => tagNodes(item, fits ? "" : wanted));
    if (!fits && !inside.some((item) => item.length)) return [];
    return [el("details", { open: Boolean(wanted) && !fits }, el("summary", {}, head, ` – ${each.value}`),
      inside.map((item, number) => el("details", { open: true }, el("summary", {}, `Item ${number + 1}`), item)))];
  });
}

// ---- Transfers

async function transfersView({ signal }) {
  const totals = el("div", { className: "rates" });
  const body = el("tbody");
  const heads = ["AE title", "Peer"].map((each) => el("th", {}, each));
  const numbers = ["Received", "Sent", "In", "Out"].map((each) => el("th", { className: "number" }, each));
  const table = el("table", { className: "cards" }, el("thead", {}, el("tr", {}, heads, numbers)), body);
  const none = empty("No association is open.");
  const failed = el("div");
  main.append(heading("Transfers"), totals, failed, table, none);
  let before = null;
  await repeat(async () => {
    let now;
    try {
      now = await get("/api/transfers", signal);
      failed.replaceChildren();
    } catch (error) {
      failed.replaceChildren(failure(error));
      throw error;
    }
    const rate = (key, one, other) => (before && other ? `${sizeText(Math.max(0, one[key] - other[key]) / (now.at - before.at))}/s` : "–");
    const earlier = new Map((before?.associations || []).map((each) => [each.id, each]));
    const box = (text, value) => el("div", {}, el("span", { className: "soft" }, text), el("b", {}, value));
    totals.replaceChildren(box("In", rate("bytes_received", now, before)), box("Out", rate("bytes_sent", now, before)),
      box("Associations", String(now.associations.length)), box("Received since the start", sizeText(now.bytes_received)),
      box("Operations since the start", now.operations.toLocaleString("en")));
    body.replaceChildren(...now.associations.map((each) => {
      const cell = (text, name) => el("td", { className: "number", "data-name": name }, text);
      return el("tr", {}, el("td", { className: "whole" }, each.ae_title), el("td", { className: "whole" }, each.peer),
        cell(sizeText(each.bytes_received), "Received"), cell(sizeText(each.bytes_sent), "Sent"),
        cell(rate("bytes_received", each, earlier.get(each.id)), "In"), cell(rate("bytes_sent", each, earlier.get(each.id)), "Out"));
    }));
    table.hidden = !now.associations.length;
    none.hidden = Boolean(now.associations.length);
    before = now;
  }, 1, signal);
}

// ---- Peers

async function peersView({ signal }) {
  const { peers } = await get("/api/peers", signal);
  main.append(heading("Peers"));
  if (!peers.length) return main.append(empty("The node knows no destinations. Its configuration file can name them."));
  main.append(el("ul", { className: "list" }, peers.map((peer) => {
    const result = el("span", { className: "grow", role: "status" });
    const button = el("button", {}, "Echo");
    button.setAttribute("aria-label", `Echo ${peer.ae_title}`);
    button.onclick = async () => {
      button.disabled = true;
      result.className = "grow soft";
      result.textContent = "Asking …";
      try {
        const answer = await post("/api/peers/echo", { ae_title: peer.ae_title });
        result.className = `grow ${answer.is_reached ? "good" : "bad"}`;
        result.textContent = answer.is_reached ? `Answers, in ${Math.round(answer.seconds * 1000)} ms.` : sentence(answer.problem);
      } catch (error) {
        result.className = "grow bad";
        result.textContent = error.message;
      }
      button.disabled = false;
    };
    return el("li", {}, el("b", {}, peer.ae_title), el("span", { className: "soft" }, peer.address), result, button);
  })));
}

// ---- Events

const EVENTS = {
  "study-created": "Study created", "study-settled": "Study settled", "study-deleted": "Study deleted", conflict: "Conflict of patients",
  duplicate: "Duplicate", missing: "Missing or damaged file",
};
const KEPT_EVENTS = 500;

async function eventsView({ signal }) {
  const list = el("ul", { className: "list", "aria-live": "polite", hidden: true });
  const none = empty("There are no events yet.");
  const failed = el("div");
  main.append(heading("Events"), failed, list, none);
  let after = null;
  await repeat(async () => {
    try {
      const { events } = await get(`/api/events${after === null ? "" : `?after=${after}`}`, signal);
      failed.replaceChildren();
      if (events.length) after = events.at(-1).id;
      list.prepend(...events.reverse().map(eventItem));
      while (list.children.length > KEPT_EVENTS) list.lastChild.remove();
      none.hidden = Boolean(list.children.length);
      list.hidden = !none.hidden;
    } catch (error) {
      if (!signal.aborted) failed.replaceChildren(failure(error));
      throw error;
    }
  }, 2, signal);
}

function eventItem(event) {
  const at = new Date(event.at * 1000);
  const detail = Object.entries(event.detail).map(([key, value]) => `${key.replaceAll("_", " ")}: ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
  const study = event.study && event.kind !== "study-deleted" ? el("a", { href: where(event.study) }, event.study) : event.study || "";
  const time = el("time", { datetime: at.toISOString() }, `${at.toLocaleDateString("sv")} ${at.toLocaleTimeString("sv")}`);
  return el("li", {}, time, el("b", {}, EVENTS[event.kind] || event.kind), el("span", { className: "grow" }, study, detail ? el("div", { className: "soft" }, detail) : ""));
}

// ---- The node itself

async function tellOfNode() {
  const problem = document.getElementById("problem");
  try {
    const node = await get("/api/node");
    document.getElementById("title").textContent = node.ae_title;
    const held = node.studies === undefined ? "" : `${counted(node.studies, "study", "studies")}, ${counted(node.instances, "image")}, ${sizeText(node.bytes)}`;
    document.getElementById("held").textContent = [held, node.free === null ? "" : `${sizeText(node.free)} free`].filter(Boolean).join(" · ");
    problem.textContent = Object.values(node.problems).map(sentence).join(" ");
  } catch (error) {
    problem.textContent = error.message;
  }
  problem.hidden = !problem.textContent;
}

document.getElementById("skip").onclick = () => main.focus();
window.addEventListener("hashchange", show);
history.scrollRestoration = "manual";
show();
repeat(tellOfNode, 10, new AbortController().signal);
