// Events as they become durable. However many come, only the newest are kept and shown.

import { h, number, setText, time } from "./dom.js";
import { Stream } from "./stream.js";

/// Rows that are kept.
const ROWS_MAX = 200;
/// Milliseconds between two drawings: what changes more often nobody can read.
const DRAW_EVERY = 250;
/// Characters of a payload that are shown at most.
const PAYLOAD_MAX = 16384;

/// The payload as it stands in the text, since reading it as a number could change it.
export function payloadOf(text) {
  for (const name of [',"payload":', ',"payload_base64":']) {
    const at = text.indexOf(name);
    if (at >= 0) return text.slice(at + name.length, -1);
  }
  return "";
}

export function tail() {
  let stream = null;
  let waiting = [];
  let came = 0;
  let lost = 0;
  let paused = false;
  let drawn = null;
  let drawing = null;
  const field = (label, id, properties) => {
    const input = h("input", { id, autocomplete: "off", spellcheck: "false", ...properties });
    return [input, h("div", {}, h("label", { for: id }, label), input)];
  };
  const [events, eventsField] = field("Events", "tail-events", { value: "all", required: true, title: "all, a domain, monitor:NAME, or the daemon's own: alerts, canary, gaps, operations, thresholds; several with commas between" });
  const [monitor, monitorField] = field("Monitor", "tail-monitor", { placeholder: "any" });
  const [key, keyField] = field("Key", "tail-key", { placeholder: "any" });
  const [text, textField] = field("Contains", "tail-text", { placeholder: "anything" });
  const state = h("span", { class: "badge", role: "status" }, "closed");
  const said = h("span", { class: "dim" });
  // By keyboard the rows are one stop, within which arrows go; who is there holds them still.
  const body = h("tbody", {
    onfocusin: () => hold(true),
    onkeydown(event) {
      const row = event.target.closest("tr");
      const next = event.key === "ArrowDown" ? row.nextElementSibling : event.key === "ArrowUp" ? row.previousElementSibling : null;
      if (!next || event.target.tagName !== "SUMMARY") return;
      event.preventDefault();
      next.querySelector("summary").focus();
    },
  });
  const pause = h("button", { type: "button", "aria-pressed": "false", onclick: () => hold(!paused) }, "Pause");
  const clear = h("button", { type: "button", onclick: () => { body.replaceChildren(); waiting = []; came = 0; lost = 0; draw(); } }, "Clear");
  const form = h("form", { onsubmit: (event) => { event.preventDefault(); begin(); } },
    h("div", { class: "fields" }, eventsField, monitorField, keyField, textField),
    h("div", { class: "row" }, h("button", { type: "submit", class: "primary" }, "Follow"), pause, clear, state, said));

  function hold(on) {
    paused = on;
    pause.setAttribute("aria-pressed", String(paused));
    setText(pause, paused ? "Go on" : "Pause");
    draw();
  }

  function rowOf(raw) {
    const event = JSON.parse(raw);
    const payload = payloadOf(raw);
    const whole = payload.length > PAYLOAD_MAX ? `${payload.slice(0, PAYLOAD_MAX)}… (${number(payload.length)} characters)` : payload;
    const details = h("details", { ontoggle: () => details.open && hold(true) }, h("summary", { class: "mono", tabindex: "-1" }, payload.slice(0, 300)), h("pre", {}, whole),
      h("p", { class: "dim" }, `offset ${event.offset}, ${event.path}, ${event.domain}, topic ${event.topic}, id ${event.id ?? "–"}`));
    return h("tr", { "data-offset": event.offset },
      h("td", { "data-label": "Received", title: event.received_time }, time(event.received_time)), h("td", { "data-label": "Monitor" }, event.monitor),
      h("td", { "data-label": "Key" }, event.key ?? ""), h("td", {}, details));
  }

  function draw() {
    drawing = null;
    drawn = performance.now();
    if (!paused && waiting.length) {
      body.querySelector('summary[tabindex="0"]')?.setAttribute("tabindex", "-1");
      const rows = waiting.map(rowOf).reverse();
      waiting = [];
      body.prepend(...rows);
      while (body.children.length > ROWS_MAX) body.lastElementChild.remove();
      body.querySelector("summary").tabIndex = 0;
    }
    const held = paused ? `, ${number(waiting.length)} wait` : "";
    setText(said, `${number(came)} came${held}; the newest ${ROWS_MAX} are shown${lost ? `, ${number(lost)} were dropped by the daemon` : ""}`);
  }

  function begin() {
    stream?.close();
    waiting = [];
    came = 0;
    lost = 0;
    body.replaceChildren();
    const query = { events: events.value.trim() || "all" };
    if (monitor.value.trim()) query.monitor = monitor.value.trim();
    if (key.value.trim()) query.key = key.value.trim();
    const only = text.value;
    stream = new Stream(query, {
      event(raw) {
        if (only && !raw.includes(only)) return;
        came += 1;
        waiting.push(raw);
        if (waiting.length > ROWS_MAX) waiting.shift();
        drawing ??= setTimeout(draw, Math.max(0, DRAW_EVERY - (performance.now() - (drawn ?? 0))));
      },
      dropped(note) { lost += note.count ?? note.dropped ?? 0; },
      state(word, why) {
        state.className = `badge ${word === "open" ? "good" : word === "closed" ? "bad" : "warn"}`;
        setText(state, word === "open" ? "following" : word === "closed" ? `not connected: ${why}` : word);
      },
    });
    draw();
  }

  return {
    title: "Live",
    element: h("div", { class: "tail" }, form,
      h("div", { class: "list", tabindex: "0", role: "region", "aria-label": "Events" },
        h("table", { class: "cards", "aria-label": "Events" }, h("thead", {}, h("tr", {}, ...["Received", "Monitor", "Key", "Payload"].map((name) => h("th", { scope: "col" }, name)))), body))),
    update() {},
    show() { if (!stream) begin(); },
    hide() {
      stream?.close();
      stream = null;
    },
  };
}

