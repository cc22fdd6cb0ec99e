// Requests to the node.

import { sentence } from "./elements.js";

export class Problem extends Error {}

/** A path of the node. Browsers send no requests to an address with a password, which that of the page may have. */
export const url = (path) => location.origin + path;

export async function ask(path, body, signal) {
  const options = body === undefined ? { signal } :
    { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal };
  let response;
  try {
    response = await fetch(url(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The node does not answer. Is it running?");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new Problem(sentence(said.problem || `The node answered ${response.status}`));
}
export const get = async (path, signal) => (await ask(path, undefined, signal)).json();
export const post = async (path, body) => (await ask(path, body)).json();

/** Run `work` now and then again and again, while the view lasts and the page is seen. */
export function repeat(work, seconds, signal) {
  const turn = async () => {
    if (signal.aborted) return;
    if (!document.hidden) await work().catch((error) => { if (!signal.aborted) console.warn(error.message); });
    if (!signal.aborted) setTimeout(turn, seconds * 1000);
  };
  return turn();
}
