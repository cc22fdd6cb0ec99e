// The page of a node: its views, by the part of the address behind "#". What is searched for may name a patient, and
// browsers keep addresses: it is in the state of the entry in their history (see studies.js).

import { counted, el, empty, failure, heading, main, sentence, sizeText } from "./elements.js";
import { eventsView, peersView, transfersView } from "./live.js";
import { Problem, get, repeat } from "./requests.js";
import { search, studiesView, studyView } from "./studies.js";

// ---- Views: each is given the other parts of the address, and a signal that aborts when it is left

const VIEWS = { "": studiesView, study: studyView, transfers: transfersView, peers: peersView, events: eventsView };
let leave = new AbortController();
let isLeft = false; // the view that the page began with

function parts(hash) {
  try {
    return hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  } catch {
    return [hash]; // it is not an address of ours
  }
}

async function show() {
  leave.abort();
  leave = new AbortController();
  const signal = leave.signal;
  const [name, ...rest] = parts(location.hash);
  const view = Object.hasOwn(VIEWS, name) ? VIEWS[name] : nothingView;
  for (const link of document.querySelectorAll("nav a")) {
    const is = link.getAttribute("href") === (name === "study" ? "#/" : `#/${name}`);
    if (is) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  window.scrollTo(0, 0);
  try {
    await view({ rest, signal });
    // For those who do not see that the view has changed; a view may have chosen what has the focus
    if (isLeft && !signal.aborted && !main.contains(document.activeElement)) main.querySelector("h1")?.focus({ preventScroll: true });
    isLeft = true;
  } catch (error) {
    if (signal.aborted) return;
    main.append(failure(error));
    if (!(error instanceof Problem)) throw error;
  }
}

async function nothingView() {
  main.append(heading("Nothing here"), empty("There is no such page. ", el("a", { href: "#/" }, "To the studies")));
}

// ---- The node itself

async function tellOfNode() {
  const problem = document.getElementById("problem");
  try {
    const node = await get("/api/node");
    document.getElementById("title").textContent = node.ae_title;
    const held = node.studies === undefined ? "" : `${counted(node.studies, "study", "studies")}, ${counted(node.instances, "instance")}, ${sizeText(node.bytes)}`;
    document.getElementById("held").textContent = [held, node.free === null ? "" : `${sizeText(node.free)} free`].filter(Boolean).join(" · ");
    problem.textContent = Object.values(node.problems).map(sentence).join(" ");
  } catch (error) {
    problem.textContent = error.message;
  }
  problem.hidden = !problem.textContent;
}

document.getElementById("skip").onclick = () => main.focus();
// The list is where they lead: without this, nothing would happen there after a search
for (const link of document.querySelectorAll("header a[href='#/']"))
  link.addEventListener("click", () => { if (location.hash === "#/") search(new URLSearchParams()); });
window.addEventListener("popstate", show);
history.scrollRestoration = "manual";
show();
repeat(tellOfNode, 10, new AbortController().signal);
