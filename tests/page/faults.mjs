// The upstream down, a sink down: shown where they are looked for. Alerts of them are acknowledged and resolved. Then the daemon away.

import assert from "node:assert/strict";
import { api, rows, say, show, tile, until, withPage } from "./browser.mjs";

await withPage({}, async (page, context) => {
  await until("links", async () => (await tile(page, "Links open")) === "1 of 1");

  await show(page, "sinks");
  await until("the sink is down", async () => {
    const row = (await rows(page, "Sinks")).find((row) => row.Sink === "dead");
    return ["open", "disconnected"].includes(row.State) && /127\.0\.0\.1/.test(row.Error) && row.Lag === "not known";
  });

  say("take the upstream away");
  await show(page, "pool");
  await until("its links are lost", async () => (await page.textContent("#pools h2")).endsWith("0 of 1 links open"));
  await until("its breaker opens", async () => {
    const row = (await rows(page, "Circuit breakers")).find((row) => row.Of === "upstream");
    return row.State !== "closed" && row["Last error"] !== "";
  });
  await until("health says so", async () => (await page.textContent("#health")) === "degraded");
  await show(page, "gaps");
  await until("what is missed", async () => {
    const [shown, said] = [await rows(page, "Gaps"), await api("/api/v1/gaps?since=24h")];
    return shown.length === said.length && shown.some((row) => row.State === "open" && row.To === "goes on");
  });
  await show(page, "overview");
  await until("it is told in words", async () => (await page.locator("#reasons .note").count()) > 0);

  // Alerts.
  await show(page, "alerts");
  const gap = () => page.locator('table[aria-label="Alerts"] tbody tr', { hasText: "GAP OPENED" });
  await gap().getByRole("button", { name: /^Acknowledge/ }).click();
  await page.fill("#alert-who", "ada");
  await page.fill("#alert-text", "looking <b>into</b> it");
  await page.locator("dialog[open] button.primary").click();
  await until("it is acknowledged", async () => /acknowledged/.test(await gap().textContent()) && /ada, .*looking <b>into<\/b> it/.test(await gap().textContent()));
  const one = async () => (await api("/api/v1/monitoring/alerts")).find((alert) => alert.type === "GAP_OPENED");
  assert.deepEqual([(await one()).status, (await one()).acknowledged_by, (await one()).notes], ["ACKNOWLEDGED", "ada", "looking <b>into</b> it"]);
  await gap().getByRole("button", { name: /^Resolve/ }).click();
  assert.equal(await page.inputValue("#alert-who"), "ada", "who somebody is need not be said twice");
  await page.fill("#alert-text", "mended");
  await page.locator("dialog[open] button.primary").click();
  await until("it is gone from what goes on", async () => (await gap().filter({ hasText: "ada" }).count()) === 0);
  await page.getByRole("button", { name: "With resolved ones" }).click();
  await until("it is among the resolved", async () => /resolved by ada, .*: mended/.test(await gap().filter({ hasText: "ada" }).textContent()));

  say("bring the upstream back");
  await show(page, "pool");
  await until("its link is there again", async () => (await page.textContent("#pools h2")).endsWith("1 of 1 links open"));

  say("take the daemon away");
  await until("that is told", async () => /does not answer since/.test(await page.textContent("#away")));
  assert.equal(await page.textContent("#health"), "away");
  say("bring the daemon back");
  await until("it comes back by itself", async () => (await page.locator("#away").isHidden()) && (await page.textContent("#health")) !== "away");
  await show(page, "live");
  await until("events come", async () => (await page.locator(".tail tbody tr").count()) > 0);
  assert.equal(context.pages().length, 1);
});
