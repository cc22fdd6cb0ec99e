// A series: the viewer.

import { dateText, el, failure, heading, main, nameText, where } from "./elements.js";
import { Problem, ask, get } from "./requests.js";

const PRESETS = [["Soft tissue", 40, 400], ["Lung", -600, 1500], ["Bone", 300, 1500], ["Brain", 40, 80], ["Liver", 60, 160]];
/** Pixels of the pictures that are kept: four bytes each. */
const KEPT_PIXELS = 48e6;
const MAX_STACK = 20000;

export async function showSeries(study, seriesUid, signal) {
  const base = `/api/studies/${study.uid}/series/${encodeURIComponent(seriesUid)}`;
  const { instances } = await get(base, signal);
  const series = study.series.find((each) => each.uid === seriesUid) || {};
  const stack = stackOf(instances), isCut = stack.length >= MAX_STACK || instances.length < series.instance_count;
  new Viewer(study, series, base, stack, isCut, signal);
}

/** The frames of the instances, one after another. A number of frames is what the file says: it may be absurd. */
function stackOf(instances) {
  const stack = [];
  for (const each of instances) {
    const frames = each.is_image ? Math.max(1, each.frames) : 1;
    for (let frame = 1; frame <= frames && stack.length < MAX_STACK; frame++)
      stack.push({ uid: each.uid, frame, isImage: each.is_image, kind: each.kind });
  }
  return stack;
}

/** Shows the images of a stack. There is one request at a time; what was asked for meanwhile comes next. */
class Viewer {
  constructor(study, series, base, stack, isCut, signal) {
    Object.assign(this, { base, stack, isCut, signal, at: 0, window: null, own: null, kept: new Map(), isAsking: false, isStale: false });
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
    const title = heading(series.description || `${series.modality || ""} series`.trim(), "Series");
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
    this.place.textContent = this.stack.length > 1 ? `Image ${this.at + 1} of ${this.isCut ? "the first " : ""}${this.stack.length}` : item.kind;
    this.slider.setAttribute("aria-valuetext", this.place.textContent);
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
        if (!item.isImage) throw new Problem(`${item.kind} has no image: its tags say what it has.`);
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
    this.forget(KEPT_PIXELS);
    return found;
  }

  /** Keep no more pixels than `most`: the pictures that were used longest ago go, but for the one that is shown. */
  forget(most) {
    let pixels = 0;
    for (const [url, { bitmap }] of [...this.kept].reverse()) {
      pixels += bitmap.width * bitmap.height;
      if (pixels <= most || bitmap === this.shown?.bitmap) continue;
      this.kept.delete(url);
      bitmap.close();
    }
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
      const { tags, is_cut: isCut } = await get(`${this.base}/instances/${uid}/tags`, this.signal);
      if (this.tagsOf === uid) this.putTags(tags, isCut);
    } catch (error) {
      if (!this.signal.aborted) this.tags.replaceChildren(failure(error));
    }
  }

  putTags(tags, isCut) {
    const tree = el("div", { className: "tree" });
    const wanted = this.tags.querySelector("input")?.value || "";
    const find = el("input", { type: "search", placeholder: "Find a tag, name or value", "aria-label": "Find in the tags", value: wanted });
    const put = () => tree.replaceChildren(...tagNodes(tags, find.value.trim().toLowerCase()));
    find.oninput = put;
    put();
    this.tags.replaceChildren(el("div", { className: "find" }, find), isCut ? el("p", { className: "soft" }, "There are too many: these are the first ones.") : "", tree);
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
