// Elements made of text that may hold anything: names come from manifests that anybody may have written.

// Control characters, and those that are not seen or turn the direction of what follows.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

/** The text as it is shown: nothing in it moves or hides what stands around it, and it is at most `most` characters long. */
export function plain(text, most = 400) {
  const shown = String(text ?? "").slice(0, most + 1).replace(UNSEEN, "\ufffd");
  return shown.length > most ? shown.slice(0, most - 1) + "…" : shown;
}

/** A text of many lines as it is shown. */
export function plainLines(text) {
  return document.createTextNode(String(text).split("\n").map((line) => plain(line, 1000)).join("\n"));
}

/** An element with these properties; children are elements, or text. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  append(made, children);
  return made;
}

export function append(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    parent.append(child instanceof Node ? child : plain(child));
  }
}

export function replace(parent, ...children) {
  parent.replaceChildren();
  append(parent, children);
}

/** A list of names and values; a value is text or an element, and left out where it is null. */
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => value !== null && value !== undefined);
  return element("dl", { class: "facts" }, shown.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}

export function count(number, one, many = one + "s") {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

/** Microseconds in the unit that is read most easily. */
export function duration(microseconds) {
  if (microseconds < 1000) return `${microseconds} µs`;
  if (microseconds < 1e6) return `${(microseconds / 1000).toFixed(microseconds < 1e4 ? 1 : 0)} ms`;
  return seconds(microseconds / 1e6);
}

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  if (value < 7200) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${Math.round(value / 3600)} h` : `${Math.round(value / 86400)} d`;
}
