// The change-over to the smart path: the share, the plan's stages, the guard, both paths side by side.

import { Table, badge, h, number, percent, rate, setText, span, time, word } from "./dom.js";

const MEASURES = [
  ["Monitors", (row) => number(row.monitors)],
  ["Links open", (row) => `${row.open} of ${row.links}`],
  ["Messages/s", (row) => rate(row.messages_per_second)],
  ["Events/s", (row) => rate(row.events_per_second)],
  ["Parse rate", (row) => percent(row.parse_rate)],
  ["Connections lost, 1 h", (row) => number(row.connection_failures)],
  ["Refused", (row) => number(row.refused)],
];

function stageOf(plan, at) {
  if (plan.state === "completed" || at + 1 < plan.stage) return ["past", "done"];
  if (at + 1 === plan.stage && plan.state) return ["current", plan.state];
  return ["", "to come"];
}

/// Made anew only when what it shows has changed.
function redraw(element, value, make) {
  const text = JSON.stringify(value);
  if (element.dataset.shown === text) return;
  element.dataset.shown = text;
  element.replaceChildren(...make());
}

export function canary(state) {
  const share = h("p");
  const split = h("div", { class: "split", role: "img" }, h("div", { class: "smart" }), h("div", { class: "legacy" }));
  const counts = h("p", { class: "dim" });
  const notes = h("div");
  const stages = h("ol", { class: "stages", id: "stages" });
  const plan = h("p", { class: "dim" });
  const guard = h("p", { id: "guard" });
  const sides = h("div", { class: "panels", id: "sides" });
  const crossings = new Table("Monitors that change paths", [
    { head: "Monitor", of: (row) => row.monitor },
    { head: "From", of: (row) => row.from },
    { head: "To", of: (row) => row.to },
    { head: "Since", of: (row) => time(row.since), className: "short" },
    { head: "Both paths", of: (row) => (row.overlap ? "yes" : "no") },
    { head: "Waits for", of: (row) => row.waits_for, className: "wide" },
  ], (row) => `${row.monitor} ${row.since}`, "No monitor changes paths.");
  const decisions = new Table("Decisions", [
    { head: "When", of: (row) => time(row.time), className: "short" },
    { head: "What", of: (row) => word(row.what, row.what.startsWith("roll") ? "bad" : null), className: "short" },
    { head: "From", of: (row) => percent(row.from, 0), number: true },
    { head: "To", of: (row) => percent(row.to, 0), number: true },
    { head: "By", of: (row) => row.by },
    { head: "Why", of: (row) => row.reason ?? "", className: "wide" },
  ], (row) => row.offset, "Nothing was decided yet.");

  return {
    title: "Canary", wants: ["decisions"],
    element: h("div", {}, notes, share, split, counts, h("h2", {}, "Plan"), stages, plan, h("h2", {}, "Guard"), guard,
      h("h2", {}, "Both paths, within the guard's window"), sides, h("h2", {}, "Under way"), crossings.element, h("h2", {}, "Decisions"), decisions.element),
    update() {
      if (state.decisions) decisions.update([...state.decisions].reverse());
      const now = state.dashboard?.canary;
      if (!now) return;
      setText(share, `${percent(now.fraction, 0)} of the monitors are to be on the smart path, by ${now.by ? `the ${now.by}` : `the settings (${now.settings.origin})`}${now.since ? ` since ${time(now.since)}` : ""}${now.reason ? `: ${now.reason}` : ""}.`);
      const of = (path) => now.paths.find((row) => row.path === path) ?? { now: 0, wanted: 0, pinned: 0 };
      const [smart, legacy] = [of("smart"), of("legacy")];
      const all = smart.now + legacy.now || 1;
      split.children[0].style.width = `${(smart.now / all) * 100}%`;
      split.children[1].style.width = `${(legacy.now / all) * 100}%`;
      split.setAttribute("aria-label", `${smart.now} monitors on smart, ${legacy.now} on legacy`);
      setText(counts, `Monitors on smart: ${smart.now} now, ${smart.wanted} wanted, ${smart.pinned} by their own settings. On legacy: ${legacy.now} now, ${legacy.wanted} wanted, ${legacy.pinned} by their own settings.`);
      const back = now.roll_back;
      redraw(notes, [now.notes, back && [back.from, back.to, back.reason, back.left]], () => [
        ...(back ? [h("p", { class: "note bad", id: "roll-back" }, `Roll back from ${percent(back.from, 0)} to ${percent(back.to, 0)} under way, because of ${back.reason.replaceAll("_", " ")}: ${back.left} monitors are not back yet.`)] : []),
        ...now.notes.map((note) => h("p", { class: "note" }, note)),
      ]);
      redraw(stages, [now.plan.stages, now.plan.stage, now.plan.state], () => now.plan.stages.map((stage, at) => {
        const [className, said] = stageOf(now.plan, at);
        return h("li", { class: className, "aria-current": className === "current" ? "step" : null },
          h("strong", {}, percent(stage.fraction, 0)), h("div", { class: "dim" }, stage.for ? `for ${stage.for}` : "for good"), badge(said.replaceAll("_", " ")));
      }));
      const waits = now.plan.waits_for ? `, waits: ${now.plan.waits_for}` : "";
      const left = now.plan.left_seconds === null ? "" : `, ${span(now.plan.left_seconds)} to go`;
      setText(plan, now.plan.state ? `${now.plan.state}: well for ${span(now.plan.well_seconds)} in stage ${now.plan.stage}${left}${waits}; rolled back ${now.plan.roll_backs} times.` : "No plan was started.");
      redraw(guard, now.guard, () => [badge(now.guard.state), ` ${now.guard.words ?? ""}${now.guard.cooling_until ? ` Nothing is put on the smart path until ${time(now.guard.cooling_until)}.` : ""}`]);
      redraw(sides, now.figures, () => [...new Set(now.figures.map((row) => row.upstream))].map((upstream) => {
        const rows = ["smart", "legacy"].map((path) => now.figures.find((row) => row.upstream === upstream && row.path === path));
        return h("section", { class: "panel" }, h("h3", {}, upstream), h("table", { "aria-label": `Both paths of ${upstream}` },
          h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col", class: "number" }, "smart"), h("th", { scope: "col", class: "number" }, "legacy"))),
          h("tbody", {}, ...MEASURES.map(([name, of]) => h("tr", {}, h("th", { scope: "row" }, name), ...rows.map((row) => h("td", { class: "number" }, row ? of(row) : "–")))))));
      }));
      crossings.update(now.crossings);
    },
  };
}
