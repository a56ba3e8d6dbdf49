// Views that are a list or two of what the daemon says.

import { Table, bytes, h, milliseconds, number, rate, setText, setTone, span, time, word } from "./dom.js";

const LINK_TONES = { open: "good", connecting: "warn", waiting: "bad", held: "warn" };

const GAP_TONE = (gap) => (!gap.end ? word("open") : gap.left_from ? word("filled in part", "warn") : gap.filled ? word("filled") : word("over", null));

/// Pools with their links, and the breakers.
export function pool(state) {
  const panels = new Map();
  const place = h("div", { id: "pools" });
  const breakers = new Table("Circuit breakers", [
    { head: "Breaker", of: (row) => row.name },
    { head: "Of", of: (row) => row.kind },
    { head: "State", of: (row) => (row.enabled ? word(row.state) : word("off", null)), className: "short" },
    { head: "Held", of: (row) => row.forced ?? "" },
    { head: "Since", of: (row) => time(row.since), className: "short" },
    { head: "Failures in a row", of: (row) => number(row.failures), number: true },
    { head: "In all", of: (row) => number(row.failures_total), number: true },
    { head: "Opened", of: (row) => number(row.openings), number: true },
    { head: "Last error", of: (row) => row.last_error ?? "", className: "wide" },
  ], (row) => `${row.kind} ${row.name}`, "No breakers.");

  function panel() {
    const title = h("span");
    const figures = h("p", { class: "dim" });
    const links = new Table("Links", [
      { head: "Link", of: (row) => String(row.link), number: true },
      { head: "State", of: (row) => word(row.state, LINK_TONES[row.state] ?? null), className: "short" },
      { head: "Since", of: (row) => time(row.since), className: "short" },
      { head: "Topics", of: (row) => number(row.topics), number: true },
      { head: "Messages/s", of: (row) => rate(row.messages_per_second), number: true },
      { head: "Messages", of: (row) => number(row.messages), number: true },
      { head: "Round trip", of: (row) => milliseconds(row.latency_ms), number: true },
      { head: "Connects", of: (row) => number(row.connects), number: true },
      { head: "Last error", of: (row) => row.last_error ?? "", className: "wide" },
    ], (row) => row.link, "No links.");
    const element = h("section", {}, h("h2", {}, title), figures, links.element);
    return { element, update(row) {
      const whose = row.monitor ? ` (${row.path}, monitor ${row.monitor})` : "";
      setText(title, `${row.upstream}${whose}: ${row.links_open} of ${row.links_wanted} links open`);
      setTone(title, row.links_open < row.links_wanted ? "bad" : null);
      const left = row.topics_left_out ? `, ${row.topics_left_out} without a place` : "";
      const mode = row.mode ? `, ${row.mode}` : "";
      setText(figures, `${rate(row.messages_per_second)} messages/s, ${row.topics_placed} topics placed${left}, at most ${row.links_max} links, breaker ${row.circuit?.replace("_", " ") ?? "none"}${mode}`);
      links.update(row.links);
    } };
  }

  return {
    title: "Pool and breakers",
    element: h("div", {}, place, h("h2", {}, "Circuit breakers"), breakers.element),
    update() {
      if (!state.dashboard) return;
      const gone = new Set(panels.keys());
      for (const row of state.dashboard.pool) {
        const key = `${row.upstream} ${row.path} ${row.monitor ?? ""}`;
        gone.delete(key);
        if (!panels.has(key)) {
          panels.set(key, panel());
          place.append(panels.get(key).element);
        }
        panels.get(key).update(row);
      }
      for (const key of gone) {
        panels.get(key).element.remove();
        panels.delete(key);
      }
      breakers.update(state.dashboard.circuits);
    },
  };
}

export function sinks(state) {
  const table = new Table("Sinks", [
    { head: "Sink", of: (row) => row.name },
    { head: "Kind", of: (row) => row.kind },
    { head: "State", of: (row) => word(row.state), className: "short" },
    { head: "Breaker", of: (row) => word(row.breaker), className: "short" },
    { head: "Lag", of: (row) => (row.lag_events === null ? "not known" : `${number(row.lag_events)} events${row.lag_seconds ? `, ${span(row.lag_seconds)}` : ""}`) },
    { head: "Error", of: (row) => row.error ?? "", className: "wide" },
    { head: "Cursor", of: (row) => number(row.cursor), number: true },
    { head: "Writes p95", of: (row) => milliseconds(row.latency_ms?.p95), number: true },
    { head: "Rows", of: (row) => number(row.rows), number: true },
    { head: "Retries", of: (row) => number(row.retries), number: true },
    { head: "Put aside", of: (row) => number(row.parked), number: true },
    { head: "Lost", of: (row) => number(row.lost), number: true },
    { head: "Files", of: (row) => (row.files === null ? "" : `${number(row.files)}, ${bytes(row.bytes)}`), number: true },
  ], (row) => row.name, "No sinks are set: the journal is all there is.");
  return { title: "Sinks", element: table.element, update: () => state.dashboard && table.update(state.dashboard.sinks) };
}

export function gaps(state) {
  const said = h("p", { class: "dim" });
  const table = new Table("Gaps", [
    { head: "Monitor", of: (row) => row.monitor },
    { head: "Upstream", of: (row) => row.upstream },
    { head: "Topic", of: (row) => row.topic },
    { head: "State", of: GAP_TONE, className: "short" },
    { head: "Cause", of: (row) => row.cause.replaceAll("_", " ") },
    { head: "From", of: (row) => time(row.start), className: "short" },
    { head: "To", of: (row) => (row.end ? time(row.end) : "goes on"), className: "short" },
    { head: "Lasted", of: (row) => span(row.seconds), number: true },
    { head: "Missing", of: (row) => number(row.missing), number: true },
    { head: "Filled by", of: (row) => row.filled ?? "" },
  ], (row) => `${row.id} ${row.monitor} ${row.topic} ${row.start}`, "No gaps in the last 24 hours.");
  return {
    title: "Gaps", wants: ["gaps"],
    element: h("div", {}, said, table.element),
    update() {
      if (!state.gaps) return;
      const open = state.gaps.filter((gap) => !gap.end).length;
      setText(said, `Spans in which something may not have been seen, in the last 24 hours: ${open} go on, ${state.gaps.length - open} are over${state.gaps.length >= 200 ? " (the newest 200 are shown)" : ""}.`);
      table.update([...state.gaps].reverse());
    },
  };
}

export function operations(state) {
  const table = new Table("Operations", [
    { head: "Operation", of: (row) => row.kind },
    { head: "Of", of: (row) => row.subject },
    { head: "State", of: (row) => word(row.state), className: "short" },
    { head: "Progress", className: "wide",
      make: () => h("div", {}, h("progress", { max: "1", value: "0" }), h("span")),
      refresh(cell, row) {
        const [bar, said] = cell.firstChild.children;
        bar.value = row.total ? row.done / row.total : row.state === "running" ? 0 : 1;
        bar.setAttribute("aria-label", `Progress of ${row.kind} ${row.subject}`);
        setText(said, row.total ? `${number(row.done)} of ${number(row.total)}` : row.waiting ?? "");
      } },
    { head: "Events", of: (row) => number(row.events), number: true },
    { head: "Events/s", of: (row) => rate(row.rate), number: true },
    { head: "Began", of: (row) => time(row.started), className: "short" },
    { head: "Lasted", of: (row) => span(row.duration_seconds), number: true },
    { head: "Waits for", of: (row) => row.waiting ?? "" },
    { head: "Error", of: (row) => row.error ?? "", className: "wide" },
  ], (row) => row.id, "Nothing goes on, and nothing has ended lately.");
  const order = (row) => (row.state === "running" ? 0 : 1);
  return {
    title: "Operations",
    element: h("div", {}, h("p", { class: "dim" }, "Replays, backfills, checkpoints, reports: what goes on, and what has ended lately."), table.element),
    update: () => state.dashboard && table.update([...state.dashboard.operations].sort((a, b) => order(a) - order(b) || b.started.localeCompare(a.started))),
  };
}

export function quarantine(state) {
  const table = new Table("Quarantine", [
    { head: "Received", of: (row) => time(row.received_time), className: "short" },
    { head: "Monitor", of: (row) => row.monitor ?? "" },
    { head: "Upstream", of: (row) => row.upstream },
    { head: "Reason", of: (row) => row.reason, className: "wide" },
    { head: "Bytes", of: (row) => number(row.bytes), number: true },
    { head: "Read since", of: (row) => (row.retried ? "yes" : "no") },
    { head: "Frame", className: "wide",
      make: () => h("details", {}, h("summary", { class: "mono" }), h("pre")),
      refresh(cell, row) {
        const [summary, whole] = cell.firstChild.children;
        const text = row.frame ?? (row.frame_base64 ? `base64: ${row.frame_base64}` : "");
        setText(summary, text.length > 60 ? `${text.slice(0, 60)}…` : text);
        setText(whole, text);
      } },
  ], (row) => row.offset, "Nothing could not be read in the last 24 hours.");
  return {
    title: "Quarantine", wants: ["quarantine"],
    element: h("div", {}, h("p", { class: "dim" }, "Frames that could not be read in the last 24 hours, at most the newest 100. ", h("code", {}, "sluice quarantine retry"), " reads them again by the rules in force."), table.element),
    update: () => state.quarantine && table.update([...state.quarantine].reverse()),
  };
}

