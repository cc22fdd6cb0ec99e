// Elements and texts that the views have in common.

export const main = document.getElementById("main");

/** An element. `properties` with a hyphen or `for`, `role`, `href` and the like are attributes. */
export function el(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on") || key === "value" || key === "disabled" || key === "hidden") made[key] = value;
    else made.setAttribute(key === "className" ? "class" : key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((each) => each !== null && each !== undefined && each !== ""));
  return made;
}

export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");
export const counted = (number, one, many = one + "s") => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

export function dateText(number) {
  if (!number) return "";
  const text = String(number).padStart(8, "0");
  return `${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`;
}

export function timeText(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  const seconds = Math.floor(milliseconds / 1000);
  return [seconds / 3600, (seconds / 60) % 60].map((each) => String(Math.floor(each)).padStart(2, "0")).join(":");
}

export function momentText(seconds) {
  const at = new Date(seconds * 1000);
  return `${at.toLocaleDateString("sv")} ${at.toLocaleTimeString("sv")}`;
}

export function sizeText(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 999.5 && unit < units.length - 1) { bytes /= 1000; unit++; }
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** A person's name (PS3.5 6.2.1): family name, given names; the ideographic group behind the alphabetic one. */
export function nameText(name) {
  const groups = name.split("=").map((group) => {
    const [family, ...given] = group.split("^").map((part) => part.trim());
    return [family, given.slice(0, 2).filter(Boolean).join(" ")].filter(Boolean).join(", ");
  });
  return groups.filter(Boolean).slice(0, 2).join(" · ") || "No name";
}

export const where = (study, series) =>
  `#/study/${encodeURIComponent(study)}${series ? `/${encodeURIComponent(series)}` : ""}`;
export const failure = (error) => el("p", { className: "failure", role: "alert" }, error.message);
export const empty = (...text) => el("p", { className: "empty" }, ...text);

/** The heading of a view. `title` is that of the window, which browsers keep: it must not name a patient. */
export function heading(text, title = text) {
  document.title = `${title} – dimse`;
  return el("h1", { tabindex: "-1" }, text);
}
