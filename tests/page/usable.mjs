// For everybody: on a phone, by keyboard alone, in the dark; and what a feed sends stays text.

import assert from "node:assert/strict";
import { rows, show, until, withPage } from "./browser.mjs";

const VIEWS = ["overview", "pool", "sinks", "gaps", "canary", "alerts", "operations", "quarantine", "live"];

// What is markup in a feed's own words: its key, its payload, a frame that cannot be read.
await withPage({}, async (page) => {
  await show(page, "live");
  const row = page.locator(".tail tbody tr").first();
  await row.waitFor();
  assert.equal(await row.locator("td").nth(2).textContent(), '<img src=x onerror="window.hit=1">');
  await row.locator("summary").click();
  assert.match(await row.locator("pre").textContent(), /<script>window\.hit=1<\/script>/);
  await show(page, "quarantine");
  await until("the frame", async () => (await rows(page, "Quarantine")).some((row) => row.Frame.includes("<img src=y onerror=window.hit=1>")));
  for (const view of VIEWS) {
    await show(page, view);
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0, view);
  }
  assert.equal(await page.evaluate(() => window.hit), undefined);
  // Also a mistake of ours could not make markup of it.
  const refused = await page.evaluate(() => {
    try {
      document.createElement("div").innerHTML = "<b>x</b>";
      return false;
    } catch {
      return true;
    }
  });
  assert.ok(refused, "the browser refuses markup made of strings");
}).catch((error) => {
  // The last of these tries makes the browser say so, which is what is wanted there.
  if (!/TrustedHTML/.test(error.message)) throw error;
});

// A phone.
await withPage({ viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true }, async (page) => {
  for (const view of VIEWS) {
    await show(page, view);
    await until(view, async () => (await page.textContent("h1")) !== "");
    const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wider <= 0, `${view} is ${wider} px too wide`);
  }
});

// By keyboard: the link that skips, every view, and out of every place again.
await withPage({}, async (page) => {
  await until("figures", async () => (await page.textContent("#health")) !== "…");
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("href") || document.activeElement.id || document.activeElement.tagName);
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "#main");
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, "none", "what has the focus shows it");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "main");
  for (const view of VIEWS) {
    await until(`${view} is reached`, async () => {
      await page.keyboard.press("Tab");
      return (await focused()) === `#${view}`;
    });
    await page.keyboard.press("Enter");
    await until(`${view} is shown`, async () => (await page.getAttribute(`nav a[href="#${view}"]`, "aria-current")) === "page");
    assert.equal(await focused(), "H1", "whoever reads by ear hears where they are");
    // Round and back to the beginning: nothing holds the focus, nor are there more stops than a person has patience.
    let out = false;
    for (let presses = 0; presses < 150 && !out; presses += 1) {
      await page.keyboard.press("Tab");
      out = (await focused()) === "#main";
    }
    assert.ok(out, `${view} lets go of the focus`);
  }
});

// Rows of the live tail: one stop, arrows within.
await withPage({}, async (page) => {
  await show(page, "live");
  await page.locator(".tail tbody tr").nth(2).waitFor();
  await page.locator('.tail summary[tabindex="0"]').focus();
  const at = () => page.evaluate(() => [...document.querySelectorAll(".tail summary")].indexOf(document.activeElement));
  const first = await at();
  assert.ok(first >= 0);
  await page.keyboard.press("ArrowDown");
  assert.equal(await at(), first + 1, "and nothing moves meanwhile");
  await page.keyboard.press("Enter");
  await page.locator(".tail details[open]").waitFor();
  assert.equal(await page.getByRole("button", { name: "Go on" }).count(), 1, "it is held still");
});

// Light, dark, as the system has it and as somebody chose, kept over a reload.
await withPage({ colorScheme: "dark" }, async (page) => {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0));
  assert.ok((await ground()) < 200, "dark as the system");
  await page.click("#theme");
  assert.ok((await ground()) > 600, "light by choice");
  await page.reload();
  assert.ok((await ground()) > 600, "still");
  await page.click("#theme");
  assert.ok((await ground()) < 200);
});
