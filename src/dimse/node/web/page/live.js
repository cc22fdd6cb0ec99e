// What goes on: transfers, peers, events.

import { counted, el, empty, failure, heading, main, momentText, sentence, sizeText, where } from "./elements.js";
import { get, post, repeat } from "./requests.js";

// ---- Transfers

export async function transfersView({ signal }) {
  const totals = el("div", { className: "rates" });
  const body = el("tbody");
  const heads = ["AE title", "Peer", "Requested by"].map((each) => el("th", {}, each));
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
        el("td", { "data-name": "Requested by" }, each.is_outgoing ? "the node (C-MOVE)" : "the peer"),
        cell(sizeText(each.bytes_received), "Received"), cell(sizeText(each.bytes_sent), "Sent"),
        cell(rate("bytes_received", each, earlier.get(each.id)), "In"), cell(rate("bytes_sent", each, earlier.get(each.id)), "Out"));
    }));
    table.hidden = !now.associations.length;
    none.hidden = Boolean(now.associations.length);
    before = now;
  }, 1, signal);
}

// ---- Peers

export async function peersView({ signal }) {
  const { peers } = await get("/api/peers", signal);
  main.append(heading("Peers"));
  if (!peers.length) return main.append(empty("The node knows no destinations. Its configuration can name them; one that is where it calls from is known once it has called."));
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
    return el("li", {}, el("b", {}, peer.ae_title), el("span", { className: "soft" }, peer.address.replace(`${peer.ae_title}@`, "")), result, button);
  })));
}

// ---- Events

const EVENTS = {
  "study-created": "Study created", "study-settled": "Study settled", "study-deleted": "Study deleted", conflict: "Conflict of patients",
  duplicate: "Duplicate", missing: "Missing or damaged file", "job-failed": "Job given up",
};
const KEPT_EVENTS = 500;

export async function eventsView({ signal }) {
  const list = el("ul", { className: "list", "aria-live": "polite", hidden: true });
  const none = empty("There are no events yet.");
  const failed = el("div");
  const jobs = el("div", { role: "status" });
  main.append(heading("Events"), failed, jobs, list, none);
  let after = null;
  await repeat(async () => {
    try {
      const { events, failing } = await get(`/api/events${after === null ? "" : `?after=${after}`}`, signal);
      failed.replaceChildren();
      jobs.replaceChildren(...failing.map(failingItem));
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

function failingItem({ queue, waiting, attempts, problem }) {
  return el("p", { className: "bad" }, `${queue}: ${counted(waiting, "job")} waiting, failed ${counted(attempts, "time")} so far: ${sentence(problem)}`);
}

const valueText = (key, value) => (key === "bytes" ? sizeText(value) : Array.isArray(value) ? value.join(" ") : String(value));

function eventItem(event) {
  const detail = Object.entries(event.detail).map(([key, value]) => `${key.replaceAll("_", " ")}: ${valueText(key, value)}`).join(", ");
  const study = event.study && event.kind !== "study-deleted" ? el("a", { href: where(event.study) }, event.study) : event.study || "";
  const time = el("time", { datetime: new Date(event.at * 1000).toISOString() }, momentText(event.at));
  return el("li", {}, time, el("b", { className: "kind" }, EVENTS[event.kind] || event.kind), el("span", { className: "grow" }, study, detail ? el("div", { className: "soft" }, detail) : ""));
}
