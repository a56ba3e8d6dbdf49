// What was: a point a minute for a day, made of the daemon's own `metrics` events; and what is, a point every two seconds.

/// Seconds that are shown at most.
const DAY = 86400;
/// Live points that are kept as they are: half an hour.
const LIVE_MAX = 900;

/// What a record of the history counts, of all monitors together. Frames that belong to no monitor are not in it.
function counted(monitors) {
  const sum = { events: 0, read: 0, quarantined: 0 };
  for (const row of monitors) {
    if (row.domain === "_sluice") continue;
    sum.events += row.events;
    sum.read += row.events + row.repeats;
    sum.quarantined += row.quarantined;
  }
  return sum;
}

/// The upper bound of the step in which a share of all are, in milliseconds.
export function quantile(steps, share) {
  const total = steps.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  let seen = 0;
  for (const [micros, count] of steps) {
    seen += count;
    if (seen >= total * share) return micros / 1000;
  }
  return null;
}

/// `[step, count]` of the one less those of the other: the counts of the time between them.
export function less(steps, before) {
  const earlier = new Map(before);
  return steps.map(([step, count]) => [step, count - (earlier.get(step) ?? 0)]).filter(([, count]) => count > 0);
}

/// What came between two counts: a point. None where it cannot be told.
function between(now, before, seconds) {
  if (seconds <= 0 || now.events < before.events || now.read < before.read) return null;
  const read = now.read - before.read;
  const bad = Math.max(0, now.quarantined - before.quarantined);
  return { rate: (now.events - before.events) / seconds, parsed: read + bad > 0 ? (read / (read + bad)) * 100 : null };
}

/// One point for many.
function mean(points) {
  const point = { at: points.at(-1).at };
  for (const name of ["rate", "parsed"]) {
    const values = points.map((one) => one[name]).filter((value) => value !== null);
    point[name] = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }
  return point;
}

export class History {
  constructor() {
    this.minutes = [];
    this.live = [];
    this.last = null;
    this.before = null;
  }

  /// A `metrics` event. Counts are since `started`.
  record(event) {
    const { payload } = event;
    const at = Date.parse(event.received_time) / 1000;
    if (this.last && at <= this.last.at) return;
    const now = { at, started: payload.started, counted: counted(payload.monitors), steps: payload.journal.latency_steps ?? [] };
    const sameRun = this.last?.started === now.started;
    const began = Date.parse(now.started) / 1000;
    if (!sameRun && this.last) {
      // Between two runs there is nothing, which a line is not to hide.
      this.minutes.push({ at: Math.max(this.last.at, Math.min(began, at)) - 0.001, rate: null, parsed: null });
    }
    // The first of all that are known is only what others are counted from, but where its run began a moment ago.
    if (this.last || at - began < 90) {
      const before = sameRun ? this.last : { at: began, counted: { events: 0, read: 0, quarantined: 0 }, steps: [] };
      const point = between(now.counted, before.counted, at - before.at);
      const steps = less(now.steps, before.steps);
      const latency = { p50: quantile(steps, 0.5), p95: quantile(steps, 0.95), p99: quantile(steps, 0.99) };
      if (point) this.minutes.push({ at, ...point, ...latency });
    }
    this.last = now;
    while (this.minutes.length && this.minutes[0].at < at - DAY) this.minutes.shift();
  }

  /// Monitors as they are now, `at` so many seconds. Gives the point since the time before.
  now(monitors, at) {
    const counts = counted(monitors);
    const point = this.before && between(counts, this.before.counted, at - this.before.at);
    this.before = { at, counted: counts };
    if (!point) return null;
    this.live.push({ at, ...point });
    if (this.live.length > LIVE_MAX) this.live.shift();
    return point;
  }

  /// Nobody answered: what was counted before tells nothing of the time since.
  broke(at) {
    if (this.before) this.live.push({ at, rate: null, parsed: null });
    this.before = null;
  }

  /// `[times, …series]` of the last so many seconds. `live`: with points of two seconds where there are any; else the time since the
  /// last minute is one.
  series(names, seconds, until, live) {
    const from = until - seconds;
    const first = live && this.live.length ? this.live[0].at : Infinity;
    const points = this.minutes.filter((point) => point.at >= from && point.at < first);
    const newest = this.live.filter((point) => point.at >= from && (live || point.at > (this.last?.at ?? 0)));
    if (live) points.push(...newest);
    else if (newest.length) points.push(mean(newest));
    return [points.map((point) => point.at), ...names.map((name) => points.map((point) => point[name] ?? null))];
  }
}
