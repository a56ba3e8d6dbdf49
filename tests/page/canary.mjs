// A roll back under way, and a decision of an operator, as they happen.

import { api, rows, say, show, until, withPage } from "./browser.mjs";

await withPage({}, async (page) => {
  await show(page, "canary");
  await until("the guard is content", async () => (await page.textContent("#guard")).startsWith("healthy"));
  say("make the smart path worse");
  await until("the roll back is shown while it lasts", async () => /Roll back from 100 % to 0 % under way/.test(await page.textContent("#roll-back")));
  await until("monitors on their way", async () => (await rows(page, "Monitors that change paths")).some((row) => row.From === "smart" && row.To === "legacy"));
  await until("its decision", async () => (await rows(page, "Decisions")).some((row) => row.What === "rolled back" && row.By === "guard"));
  await until("its end", async () => (await page.locator("#roll-back").count()) === 0 && (await page.textContent("main")).includes("Monitors on smart: 0 now"));
  await until("its alert", async () => (await api("/api/v1/monitoring/alerts")).some((alert) => alert.type === "CANARY_ROLLED_BACK"));
  await show(page, "alerts");
  await until("and that it is shown", async () => (await rows(page, "Alerts")).some((row) => row.Type === "CANARY ROLLED BACK" && row.Severity === "critical"));
});
