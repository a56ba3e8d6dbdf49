// How everything is at a glance: figures, the last day, monitors.

import { Chart } from "./charts.js";
import { Table, bytes, h, milliseconds, number, percent, rate, setText, setTone, span, tone, word } from "./dom.js";

const RANGES = [["24 h", 86400], ["1 h", 3600], ["15 min", 900]];

const TILES = ["Events a second", "Parse rate", "Latency p99", "Events today", "Links open", "Sinks behind", "Open alerts", "Open gaps", "Writer's queue", "Memory", "CPU", "Up for"];

export function overview(state) {
  const tiles = new Map(TILES.map((name) => {
    const value = h("div", { class: "value" }, "–");
    const more = h("div", { class: "more" });
    return [name, { value, more, element: h("div", { class: "tile", "data-tile": name }, h("div", { class: "name" }, name), value, more) }];
  }));
  const tile = (name, value, more = "", as = null) => {
    const { value: shown, more: below } = tiles.get(name);
    setText(shown, value);
    setTone(shown, as);
    setText(below, more);
  };
  const reasons = h("div", { id: "reasons" });
  const charts = [
    [["rate"], new Chart("Events a second", [{ name: "rate", label: "events/s", colour: "--accent" }], rate, (_, high) => [0, high > 0 ? high * 1.1 : 1])],
    [["parsed"], new Chart("Parse rate", [{ name: "parsed", label: "read", colour: "--accent" }], (value) => `${number(value, Number.isInteger(value) ? 0 : 2)} %`, (low) => [Math.max(0, Math.floor(Math.min(low || 100, 100) - 0.01)), 100])],
    [["p50", "p95", "p99"], new Chart("Latency by minute", [
      { name: "p50", label: "p50", colour: "--accent" },
      { name: "p95", label: "p95", colour: "--second" },
      { name: "p99", label: "p99", colour: "--third" },
    ], milliseconds, (_, high) => [0, high > 0 ? high * 1.1 : 1])],
  ];
  let shown = RANGES[0][1];
  const buttons = RANGES.map(([name, seconds]) => h("button", {
    type: "button", "aria-pressed": String(seconds === shown),
    onclick: () => {
      shown = seconds;
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(RANGES[at][1] === shown)));
      draw();
    },
  }, name));
  const monitors = new Table("Monitors", [
    { head: "Monitor", of: (row) => row.name },
    { head: "Domain", of: (row) => row.domain },
    { head: "Upstream", of: (row) => row.upstream },
    { head: "Path", of: (row) => row.path },
    { head: "State", of: (row) => word(row.state), className: "short" },
    { head: "Topics", of: (row) => row.topics, number: true },
    { head: "Events", of: (row) => number(row.events), number: true },
    { head: "Parse rate", of: (row) => percent(row.parse_rate), number: true },
    { head: "Repeats", of: (row) => number(row.repeats), number: true },
    { head: "Quarantined", of: (row) => number(row.quarantined), number: true },
    { head: "Error", of: (row) => row.error ?? "" },
  ], (row) => `${row.domain} ${row.name} ${row.upstream}`, "No monitors.");

  function draw() {
    const until = Date.now() / 1000;
    for (const [names, chart] of charts) {
      // Latencies are known by the minute.
      const data = state.history.series(names, shown, until, shown < 86400 && names[0] !== "p50");
      const nothing = state.historyError ?? (state.historyLoaded ? "Nothing yet: figures are kept once a minute." : "Loading the last 24 hours…");
      chart.draw(data, until - shown, until, nothing);
    }
  }

  return {
    title: "Overview",
    element: h("div", {}, reasons, h("div", { class: "tiles" }, ...[...tiles.values()].map((one) => one.element)),
      h("div", { class: "row", role: "group", "aria-label": "Span of the charts" }, ...buttons),
      h("div", { class: "charts" }, ...charts.map(([, chart]) => chart.element)),
      h("h2", {}, "Monitors"), monitors.element),
    update() {
      const { dashboard, alerts, gaps, point } = state;
      if (dashboard) {
        const { health, metrics, pool, sinks } = dashboard;
        tile("Events a second", rate(point?.rate), point ? "of all monitors" : "counting…");
        tile("Parse rate", point?.parsed == null ? "–" : percent(point.parsed / 100), "of the last seconds", point?.parsed == null ? null : point.parsed < 90 ? "bad" : point.parsed < 98 ? "warn" : null);
        const latency = metrics.latency_ms;
        tile("Latency p99", milliseconds(latency.p99), latency.p50 === null ? "" : `p50 ${milliseconds(latency.p50)}`);
        tile("Events today", number(metrics.events_today), `${number(metrics.events_total)} in all`);
        const open = pool.reduce((sum, row) => sum + row.links_open, 0);
        const wanted = pool.reduce((sum, row) => sum + row.links_wanted, 0);
        tile("Links open", `${open} of ${wanted}`, `${pool.length} pools`, open < wanted ? "bad" : null);
        const behind = sinks.filter((sink) => sink.enabled && sink.state !== "connected").length;
        tile("Sinks behind", sinks.length ? `${behind} of ${sinks.length}` : "none", sinks.length ? "" : "no sinks are set", behind ? "bad" : null);
        tile("Writer's queue", `${metrics.buffer.utilization_percent.toFixed(0)} %`, `${bytes(metrics.buffer.bytes)} of ${bytes(metrics.buffer.capacity)}`, metrics.buffer.utilization_percent > 80 ? "bad" : null);
        tile("Memory", bytes(health.memory.used), `of ${bytes(health.memory.total)}`);
        tile("CPU", `${(metrics.system.process_cpu_percent ?? 0).toFixed(0)} %`, `host ${(metrics.system.cpu_percent ?? 0).toFixed(0)} %, ${metrics.system.cpus} CPUs`);
        tile("Up for", span(health.uptime), `journal ${health.journal}`, tone(health.journal) === "good" ? null : "bad");
        const notes = [...new Set(health.reasons)];
        if (notes.join() !== reasons.dataset.shown) {
          reasons.dataset.shown = notes.join();
          reasons.replaceChildren(...notes.map((reason) => h("p", { class: `note ${health.status === "unhealthy" ? "bad" : ""}` }, reason)));
        }
      }
      if (alerts) {
        const live = alerts.filter((alert) => alert.status !== "RESOLVED");
        tile("Open alerts", number(live.length), `${live.filter((alert) => alert.severity === "critical").length} critical`, live.length ? "warn" : null);
      }
      if (gaps) {
        const open = gaps.filter((gap) => !gap.end).length;
        tile("Open gaps", number(open), `${gaps.length >= 200 ? "200+" : gaps.length} in 24 h`, open ? "warn" : null);
      }
      if (state.monitors) monitors.update(state.monitors);
      draw();
    },
    repaint: () => charts.forEach(([, chart]) => chart.repaint()),
  };
}
