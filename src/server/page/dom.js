// Elements and words. Whatever comes from a feed is set as text: nothing here, or anywhere on this page, makes markup of a string.

/// An element: `h("td", { class: "x", onclick }, "text", child)`. Nothing is added for `null`.
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function setText(element, text) {
  text = String(text);
  if (element.textContent !== text) element.textContent = text;
}

const TONES = ["good", "warn", "bad"];

export function setTone(element, tone) {
  for (const name of TONES) element.classList.toggle(name, name === tone);
}

/// How a word of the daemon is to be taken.
export function tone(word) {
  switch (String(word).toLowerCase()) {
    case "healthy": case "connected": case "closed": case "open_link": case "live": case "running": case "done":
    case "resolved": case "filled": case "completed": case "writable":
      return "good";
    case "degraded": case "half_open": case "lagging": case "connecting": case "waiting": case "polling": case "warning":
    case "suspect": case "acknowledged": case "paused": case "outage": case "part": case "held": case "entering":
      return "warn";
    case "unhealthy": case "open": case "disconnected": case "refused": case "failed": case "critical": case "bad": case "aborted":
    case "lost":
      return "bad";
    default:
      return null;
  }
}

export const badge = (text, as = tone(text)) => h("span", { class: `badge ${as ?? ""}` }, String(text));

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/// A number as people write it; `–` where there is none.
export function number(value, digits = 0) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return digits === 0 ? grouped.format(value) : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const rate = (value) => (value === null || value === undefined ? "–" : number(value, value === 0 || value >= 100 ? 0 : value < 10 ? 2 : 1));

/// A share as a percentage that says 100 only where nothing is missing.
export function percent(share, digits = 2) {
  if (share === null || share === undefined) return "–";
  const shown = share < 1 ? Math.min(share * 100, 100 - 10 ** -digits) : 100;
  return `${shown.toFixed(shown === 100 ? 0 : digits)} %`;
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${value.toFixed(unit === 0 || value >= 100 ? 0 : 1)} ${units[unit]}`;
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return milliseconds(seconds * 1000);
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} m ${Math.floor(seconds % 60)} s`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} m`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor((seconds % 86400) / 3600)} h`;
}

/// A moment in the reader's own time: of today without its day.
export function time(text) {
  if (!text) return "–";
  const at = new Date(text);
  const clock = at.toLocaleTimeString("en-GB");
  return at.toDateString() === new Date().toDateString() ? clock : `${at.toLocaleDateString("sv")} ${clock}`;
}

/// A table whose rows stay the same elements as long as their keys do, so that a refresh moves neither focus nor selection.
/// A column: `{ head, of(row) -> text or element or { text, tone }, number, className }`; with `make(current)` it is made once
/// for each row, and `current()` gives that row as it is now.
export class Table {
  constructor(label, columns, key, nothing) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.body = h("tbody", { role: "rowgroup" });
    const heads = columns.map((column) => h("th", { scope: "col", role: "columnheader", class: column.number ? "number" : null }, column.head));
    this.table = h("table", { class: "cards", role: "table", "aria-label": label }, h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ...heads)), this.body);
    this.nothing = h("p", { class: "nothing" }, "Loading…");
    this.table.hidden = true;
    this.said = nothing;
    this.element = h("div", { class: "list", tabindex: "0", role: "region", "aria-label": label }, this.table, this.nothing);
  }

  update(rows) {
    setText(this.nothing, this.said);
    this.table.hidden = rows.length === 0;
    this.nothing.hidden = rows.length !== 0;
    const gone = new Set(this.rows.keys());
    let before = this.body.firstChild;
    for (const row of rows) {
      const key = String(this.key(row));
      gone.delete(key);
      let held = this.rows.get(key);
      if (!held) {
        held = this.make();
        this.rows.set(key, held);
      }
      held.row = row;
      this.fill(held);
      if (held.element === before) before = before.nextSibling;
      else this.body.insertBefore(held.element, before);
    }
    for (const key of gone) {
      this.rows.get(key).element.remove();
      this.rows.delete(key);
    }
  }

  make() {
    const held = { row: null, shown: [] };
    held.cells = this.columns.map((column) =>
      h("td", { role: "cell", "data-label": column.head, class: [column.number ? "number" : "", column.className ?? ""].join(" ").trim() || null },
        column.make ? column.make(() => held.row) : null));
    held.element = h("tr", { role: "row" }, ...held.cells);
    return held;
  }

  fill(held) {
    this.columns.forEach((column, at) => {
      if (column.make) {
        column.refresh?.(held.cells[at], held.row);
        return;
      }
      const value = column.of(held.row);
      const cell = held.cells[at];
      if (value !== null && typeof value === "object") {
        // A word with its tone.
        const text = `${value.text}|${value.tone}`;
        if (held.shown[at] === text) return;
        held.shown[at] = text;
        cell.replaceChildren(badge(value.text, value.tone ?? null));
      } else {
        setText(cell, value ?? "");
      }
    });
  }
}

/// A word with its tone, for a table.
export const word = (text, as = tone(text)) => ({ text: String(text).replaceAll("_", " "), tone: as });
