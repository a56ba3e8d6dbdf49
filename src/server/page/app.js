// The page: which view is shown, and what is asked when. Everything shown is in `state`; views draw it.

import { Refused, forget, get, lines, token } from "./api.js";
import { alerts } from "./alerts.js";
import { canary } from "./canary.js";
import { h, setText, setTone, time, tone } from "./dom.js";
import { History } from "./history.js";
import { overview } from "./overview.js";
import { Stream } from "./stream.js";
import { tail } from "./tail.js";
import { gaps, operations, pool, quarantine, sinks } from "./views.js";

/// Milliseconds between two looks at what has no event: figures, links, lags.
const LOOK_EVERY = 2000;
const LOOK_EVERY_AWAY = 5000;

const state = { history: new History(), missing: {} };

/// What is asked besides the figures: how, and after how many milliseconds also without an event that says so.
const LISTS = {
  alerts: ["/api/v1/monitoring/alerts?limit=200", 15000],
  gaps: ["/api/v1/gaps?since=24h&limit=200", 30000],
  decisions: ["/api/v1/canary/history?limit=50", 60000],
  quarantine: ["/api/v1/quarantine?since=24h&limit=100", 5000],
};
/// However many events say so, a list is not asked for again before this, nor before ten times what asking took: some are read
/// out of the journal.
const LIST_REST_MIN = 1000;
/// Which list an event of the daemon's own is of.
const LIST_OF = { alerts: "alerts", gaps: "gaps", canary: "decisions", paths: "decisions" };
/// Those that are asked whatever is shown, since tiles and counts stand for them.
const ALWAYS = ["alerts", "gaps"];

const views = {
  overview: overview(state),
  pool: pool(state),
  sinks: sinks(state),
  gaps: gaps(state),
  canary: canary(state),
  alerts: alerts(state, () => {
    lists.alerts.free = 0;
    want("alerts");
    look();
  }),
  operations: operations(state),
  quarantine: quarantine(state),
  live: tail(),
};
const NAMES = { pool: "Pool" };

const main = document.getElementById("main");
const away = document.getElementById("away");
const health = document.getElementById("health");
const nav = document.getElementById("nav");
/// Of each list: whether it is asked for now, whether it is to be again, when it may be, and when it is due.
const lists = Object.fromEntries(Object.keys(LISTS).map((name) => [name, { busy: false, wanted: true, free: 0, due: 0 }]));
let shown = null;
let looking = null;
let again = false;
let timer = null;
let awaySince = null;
let stream = null;
let catching = null;

const tabs = new Map(Object.entries(views).map(([name, view]) => {
  const count = h("span", { class: "count", hidden: true });
  const tab = h("a", { href: `#${name}` }, NAMES[name] ?? view.title, count);
  nav.append(tab);
  return [name, { tab, count }];
}));

function counts() {
  const open = {
    alerts: state.alerts?.filter((alert) => alert.status === "OPEN").length,
    gaps: state.gaps?.filter((gap) => !gap.end).length,
    sinks: state.dashboard?.sinks.filter((sink) => sink.enabled && sink.state !== "connected").length,
    pool: state.dashboard?.circuits.filter((circuit) => circuit.state !== "closed").length,
  };
  for (const [name, number] of Object.entries(open)) {
    const { count } = tabs.get(name);
    setText(count, number ?? "");
    count.hidden = !number;
  }
}

/// Shows the view that the address names.
function route(moved) {
  const name = Object.hasOwn(views, location.hash.slice(1)) ? location.hash.slice(1) : (shown ?? "overview");
  if (shown === name) {
    if (moved) main.querySelector("h1").focus({ preventScroll: true });
    return;
  }
  if (shown) views[shown].hide?.();
  shown = name;
  const view = views[name];
  const heading = h("h1", { tabindex: "-1" }, view.title);
  main.replaceChildren(heading, view.element);
  document.title = `${view.title} – Sluice`;
  for (const [other, { tab }] of tabs) {
    if (other === name) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
  }
  tabs.get(name).tab.scrollIntoView({ block: "nearest", inline: "nearest" });
  want(...(view.wants ?? []));
  view.update();
  view.show?.();
  // Whoever reads by ear hears where they are.
  if (moved) {
    scrollTo(0, 0);
    heading.focus({ preventScroll: true });
    look();
  }
}

function draw() {
  const now = state.dashboard?.health.status;
  if (now) {
    setText(health, now);
    setTone(health, tone(now));
  }
  counts();
  views[shown].update();
}

/// What of the history is not known yet.
async function readHistory() {
  const since = state.history.last ? new Date(state.history.last.at * 1000).toISOString() : "24h";
  try {
    await lines(`/api/v1/events?${new URLSearchParams({ domain: "_sluice", monitor: "metrics", since, limit: "5000", format: "jsonl" })}`, (event) => state.history.record(event));
    state.historyLoaded = true;
    state.historyError = null;
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    state.historyError = `The last 24 hours cannot be read: ${error.message}`;
  }
  draw();
}

/// One reading after the other: a point is made of two records that follow each other.
function catchUp() {
  catching = (catching ?? Promise.resolve()).then(readHistory);
}

/// Asks for a list if it is shown, due and free.
async function list(name) {
  const now = performance.now();
  const [path, every] = LISTS[name];
  const one = lists[name];
  const of = ALWAYS.includes(name) || views[shown].wants?.includes(name);
  if (!of || one.busy || now < one.free || !(one.wanted || now >= one.due)) return;
  one.busy = true;
  one.wanted = false;
  try {
    state[name] = await get(path);
    delete state.missing[name];
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    one.wanted = true;
    // That nobody answers at all, the figures say.
    if (error.status) state.missing[name] = error.message;
  } finally {
    one.busy = false;
    const took = performance.now() - now;
    one.free = performance.now() + Math.max(LIST_REST_MIN, 10 * took);
    one.due = performance.now() + every;
  }
  draw();
}

function want(...names) {
  for (const name of names) lists[name].wanted = true;
}

async function figures() {
  const asked = [["dashboard", "/api/v1/monitoring/dashboard"], ["monitors", "/api/v1/monitors"]];
  const outcomes = await Promise.allSettled(asked.map(([, path]) => get(path)));
  let gone = false;
  outcomes.forEach((outcome, at) => {
    const [name] = asked[at];
    if (outcome.status === "fulfilled") {
      state[name] = outcome.value;
      delete state.missing[name];
    } else if (!(outcome.reason instanceof Refused)) {
      throw outcome.reason;
    } else if (outcome.reason.status === 0) {
      gone = true;
    } else {
      state.missing[name] = outcome.reason.message;
    }
  });
  if (outcomes[1].status === "fulfilled") state.point = state.history.now(state.monitors, Date.now() / 1000) ?? state.point;
  report(gone);
  document.getElementById("forget").hidden = !token();
}

/// Says whether the daemon is there.
function report(gone) {
  const missing = Object.values(state.missing);
  if (gone) {
    awaySince ??= new Date().toISOString();
    state.history.broke(Date.now() / 1000);
    state.point = null;
    setText(away, `The daemon does not answer since ${time(awaySince)}. What is shown is of then; the page goes on by itself.`);
    setText(health, "away");
    setTone(health, "bad");
  } else {
    if (awaySince) {
      // It may be another run, and much may have happened.
      want(...Object.keys(LISTS));
      catchUp();
      stream?.hurry();
    }
    awaySince = null;
    if (missing.length) setText(away, `Not all can be shown: ${missing[0]}`);
  }
  away.hidden = !gone && !missing.length;
  document.body.classList.toggle("stale", gone);
}

/// Asks for the figures, and for lists that are due; asked meanwhile, it does so once more.
async function look() {
  if (looking) {
    again = true;
    return;
  }
  clearTimeout(timer);
  looking = figures();
  try {
    await looking;
  } finally {
    looking = null;
    // A page that nobody sees asks nothing.
    if (!document.hidden) timer = setTimeout(look, again ? 300 : awaySince ? LOOK_EVERY_AWAY : LOOK_EVERY);
    again = false;
  }
  if (awaySince) return;
  draw();
  for (const name of Object.keys(LISTS)) list(name);
}

function follow() {
  const monitors = ["alerts", "canary", "paths", "gaps", "operations", "metrics"];
  return new Stream({ events: "_sluice", monitor: monitors.join(",") }, {
    initial() {
      // What happened before is asked for, so that nothing between two connections is missed.
      want(...Object.keys(LISTS));
      catchUp();
      look();
    },
    event(text) {
      const { monitor } = JSON.parse(text);
      if (monitor === "metrics") {
        catchUp();
        return;
      }
      if (LIST_OF[monitor]) want(LIST_OF[monitor]);
      // Many may come at once: one look is enough for all.
      if (looking) {
        again = true;
      } else {
        clearTimeout(timer);
        timer = setTimeout(look, 300);
      }
    },
    state() {},
  });
}

const THEMES = { system: "light", light: "dark", dark: "system" };
const theme = document.getElementById("theme");
const themeNow = () => document.documentElement.dataset.theme ?? "system";
const sayTheme = () => {
  setText(theme, themeNow());
  theme.setAttribute("aria-label", `Theme: ${themeNow()}`);
};
sayTheme();
theme.addEventListener("click", () => {
  const next = THEMES[themeNow()];
  if (next === "system") {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("sluice-theme");
  } else {
    document.documentElement.dataset.theme = next;
    localStorage.setItem("sluice-theme", next);
  }
  sayTheme();
  views.overview.repaint();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => views.overview.repaint());
document.getElementById("forget").addEventListener("click", () => {
  forget();
  location.reload();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  // The address names the view, also for whoever skips.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => route(true));
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) look();
});

route(false);
await look();
stream = follow();
