// Each view shows what the API says, under load, and the token is asked for once.

import assert from "node:assert/strict";
import { api, address, grouped, rows, show, tile, token, until, withPage } from "./browser.mjs";

const VIEWS = ["overview", "pool", "sinks", "gaps", "canary", "alerts", "operations", "quarantine", "live"];

await api("/api/v1/checkpoints", "POST");

await withPage({}, async (page) => {
  // Overview.
  await until("monitors", async () => {
    const [shown, said] = [await rows(page, "Monitors"), await api("/api/v1/monitors")];
    assert.deepEqual(shown.map((row) => [row.Monitor, row.Domain, row.Upstream, row.Path, row.State]), said.map((row) => [row.name, row.domain, row.upstream, row.path, row.state]));
    return shown.length > 0;
  });
  await until("events that grow", async () => {
    const before = (await api("/api/v1/monitors")).map((row) => row.events);
    const shown = await until("counts", async () => (await rows(page, "Monitors")).map((row) => Number(row.Events.replaceAll(",", ""))));
    const after = (await api("/api/v1/monitors")).map((row) => row.events);
    return shown.every((events, at) => events >= before[at] - 5000 && events <= after[at] && events > 0);
  });
  await until("a throughput", async () => Number((await tile(page, "Events a second")).replaceAll(",", "")) > 10);
  await until("a parse rate", async () => /^(100|\d\d\.\d\d) %$/.test(await tile(page, "Parse rate")));
  await until("a latency", async () => /^[\d.]+ m?s$/.test(await tile(page, "Latency p99")));
  await until("charts", async () => (await page.locator(".chart canvas").count()) === 3);
  await until("health", async () => (await page.textContent("#health")) === (await api("/api/v1/monitoring/dashboard")).health.status);

  // The day: points between two records of a run, and a break where nothing ran.
  const day = await page.evaluate(async () => {
    const { History } = await import("/page/history.js");
    const record = (minute, started, events, quarantined, steps) => ({
      received_time: new Date(minute * 60000).toISOString(),
      payload: {
        started: new Date(started * 60000).toISOString(),
        monitors: [
          { domain: "spot", events, repeats: 0, quarantined },
          { domain: "_sluice", events: 7, repeats: 0, quarantined: 9 },
        ],
        journal: { latency_steps: steps },
      },
    });
    const history = new History();
    history.record(record(10, 0, 1000, 0, [[1000, 1000]]));
    history.record(record(11, 0, 1600, 200, [[1000, 1000], [2000, 590], [9000, 10]]));
    history.record(record(11, 0, 1600, 200, []));
    history.record(record(31, 30, 60, 0, [[4000, 60]]));
    return history.minutes.map(({ at, rate, parsed, p50, p99 }) => [Math.round(at / 60), rate, parsed, p50 ?? null, p99 ?? null]);
  });
  assert.deepEqual(day, [[11, 10, 75, 2, 9], [30, null, null, null, null], [31, 1, 100, 4, 4]]);

  await show(page, "pool");
  await until("pools", async () => {
    const said = await api("/api/v1/pool");
    const heads = await page.locator("#pools h2").allTextContents();
    return said.length > 0 && said.every((row) => heads.some((head) => head.startsWith(row.upstream) && head.endsWith(`${row.links_open} of ${row.links_wanted} links open`)));
  });
  await until("breakers", async () => {
    const [shown, said] = [await rows(page, "Circuit breakers"), await api("/api/v1/circuits")];
    assert.deepEqual(shown.map((row) => [row.Breaker, row.Of, row.State]), said.map((row) => [row.name, row.kind, row.state.replace("_", " ")]));
    return shown.length > 0;
  });

  await show(page, "sinks");
  await until("sinks", async () => {
    const [shown, said] = [await rows(page, "Sinks"), await api("/api/v1/sinks")];
    assert.deepEqual(shown.map((row) => [row.Sink, row.Kind, row.State]), said.map((row) => [row.name, row.kind, row.state]));
    return Number(shown[0].Cursor.replaceAll(",", "")) > 0 && /events/.test(shown[0].Lag);
  });

  await show(page, "canary");
  await until("the share", async () => (await page.textContent("main")).includes("50 % of the monitors are to be on the smart path"));
  await until("both paths side by side", async () => {
    const { figures } = await api("/api/v1/canary");
    const of = (path) => String(figures.find((row) => row.path === path).monitors);
    const cells = await page.locator('#sides tbody tr:first-child td').allTextContents();
    return cells.length === 2 && cells[0] === of("smart") && cells[1] === of("legacy");
  });
  await until("stages", async () => (await page.locator("#stages li").count()) === (await api("/api/v1/canary")).plan.stages.length);

  await show(page, "operations");
  await until("the checkpoint", async () => (await rows(page, "Operations")).some((row) => row.Operation === "checkpoint" && row.State === "done"));

  await show(page, "quarantine");
  await until("quarantined frames", async () => {
    const [shown, said] = [await rows(page, "Quarantine"), await api("/api/v1/quarantine?since=24h&limit=100")];
    return shown.length > 0 && said.some((row) => row.reason === shown.at(-1).Reason && grouped(row.bytes) === shown.at(-1).Bytes);
  });

  await show(page, "gaps");
  await until("no gaps", async () => (await page.textContent("main")).includes("No gaps in the last 24 hours."));

  // The live tail and its filters.
  await show(page, "live");
  const tail = () => page.locator('.tail tbody tr').evaluateAll((all) => all.map((row) => [row.cells[1].textContent, row.cells[2].textContent, row.dataset.offset]));
  await until("events of several monitors", async () => new Set((await tail()).map(([monitor]) => monitor)).size > 1);
  await page.fill("#tail-monitor", "trades");
  await page.fill("#tail-key", "BTCUSDT");
  await page.keyboard.press("Enter");
  await until("only what was asked for", async () => {
    const all = await tail();
    return all.length > 3 && all.every(([monitor, key]) => monitor === "trades" && key === "BTCUSDT");
  });
  const [[, , offset]] = await tail();
  const event = (await api(`/api/v1/events?from=${offset}&limit=1`)).events[0];
  assert.deepEqual([String(event.offset), event.monitor, event.key], [offset, "trades", "BTCUSDT"]);
  await page.getByRole("button", { name: "Pause" }).click();
  const held = await tail();
  await until("what waits is counted", async () => /, [1-9][\d,]* wait/.test(await page.textContent(".tail form")));
  assert.deepEqual(await tail(), held, "nothing moves");
  await page.getByRole("button", { name: "Go on" }).click();
  await until("it goes on", async () => (await tail())[0][2] !== held[0][2]);
  assert.ok((await tail()).length <= 200);

  // Asked for once: not by another view, nor after a reload; and never in an address.
  for (const view of VIEWS) await show(page, view);
  await page.reload();
  await until("it is all there again", async () => (await page.textContent("#health")) !== "…");
  assert.equal(await page.locator("#login[open]").count(), 0);
  const seen = await page.evaluate(() => performance.getEntriesByType("resource").map((entry) => entry.name).join("\n") + document.cookie + location.href);
  assert.ok(!seen.includes(token));

  // What is no longer good is asked for again, and a wrong one is not taken.
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator("#login[open]").waitFor();
  await page.fill("#token", "not-a-token");
  await page.keyboard.press("Enter");
  await until("the refusal is told", async () => /not known|too many/.test(await page.textContent("#login-error")));
  assert.equal(new URL(address).origin, address);
});
