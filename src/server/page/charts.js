// Lines over time, drawn by uPlot.

import { h } from "./dom.js";

/// The colour that a custom property stands for now, as a canvas understands it.
function colour(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");

export class Chart {
  /// `series`: `{ name, label, colour }`; `value(number) -> text`; `range(min, max) -> [min, max]`.
  constructor(title, series, value, range) {
    this.series = series;
    this.value = value;
    this.range = range;
    this.empty = h("p", { class: "empty" }, "Loading the last 24 hours…");
    this.place = h("div", { class: "plot" }, this.empty);
    this.element = h("section", { class: "panel chart", "aria-label": title }, h("h3", {}, title), this.place);
    this.data = [[], ...series.map(() => [])];
    this.bounds = [0, 1];
    // The size comes from the layout, never the other way round.
    this.sizes = new ResizeObserver(() => this.plot?.setSize(this.size()));
    this.sizes.observe(this.place);
  }

  size() {
    return { width: Math.max(this.place.clientWidth, 120), height: Math.max(this.place.clientHeight - 32, 80) };
  }

  /// `from` and `until` are the ends of what is shown, in seconds.
  draw(data, from, until, nothing) {
    this.data = data;
    this.bounds = [from, until];
    this.empty.textContent = nothing;
    this.empty.hidden = data.slice(1).some((values) => values.some((value) => value !== null));
    if (!this.place.clientWidth) return;
    if (!this.plot) this.begin();
    this.plot.setData(data);
  }

  begin() {
    const grid = { stroke: colour("--grid"), width: 1 };
    const axis = { stroke: colour("--dim"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
    const short = (at, span) => {
      const text = new Date(at * 1000).toLocaleTimeString("en-GB");
      return span < 600 ? text : text.slice(0, 5);
    };
    this.plot = new uPlot(
      {
        ...this.size(),
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        legend: { live: true },
        scales: { x: { range: () => this.bounds }, y: { range: (_, low, high) => this.range(low ?? 0, high ?? 0) } },
        axes: [
          { ...axis, size: 26, space: 60, values: (plot, ticks) => ticks.map((at) => short(at, plot.scales.x.max - plot.scales.x.min)) },
          { ...axis, size: 62, space: 30, values: (_, ticks) => ticks.map((tick) => this.value(tick)) },
        ],
        series: [
          { label: "", value: (_, at) => (at === null ? "–" : clock(at)) },
          ...this.series.map((one) => ({
            label: one.label,
            stroke: colour(one.colour),
            width: 1.5,
            points: { show: this.data[0].length < 2 ? true : undefined, size: 4 },
            value: (_, value) => (value === null ? "–" : this.value(value)),
          })),
        ],
      },
      this.data,
      this.place,
    );
  }

  /// In other colours.
  repaint() {
    if (!this.plot) return;
    this.plot.destroy();
    this.plot = null;
    this.draw(this.data, ...this.bounds, this.empty.textContent);
  }
}
