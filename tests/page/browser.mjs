// What all cases share: Chromium, a page of the daemon under test, and waiting for a condition instead of for time.
// PLAYWRIGHT names a folder of modules with playwright-core, CHROMIUM the browser, PAGE the daemon's address.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.env.PLAYWRIGHT, "/"));
const { chromium } = require("playwright-core");

/// The longest that anything may take: far above what it does take, since tests share the machine.
const PATIENCE = 60_000;

export const address = process.env.PAGE;
export const token = process.env.TOKEN;

/// The answer of the API, asked beside the page.
export async function api(route, method = "GET", body = undefined) {
  const headers = { Connection: "close" };
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const answer = await fetch(address + route, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  const text = await answer.text();
  assert.ok(answer.ok, `${route}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

/// Waits until `condition` gives something. A condition that fails is asked again, and its last failure is told.
export async function until(what, condition) {
  const deadline = Date.now() + PATIENCE;
  let last = "it was never true";
  while (Date.now() < deadline) {
    try {
      const value = await condition();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`waited in vain: ${what}: ${last}`);
}

/// Runs a case with a page that is open, and fails where the page had an error of its own. `options` are Playwright's, of a context.
export async function withPage(options, run) {
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const errors = [];
    const foreign = [];
    page.on("pageerror", (error) => errors.push(error.message));
    page.on("console", (message) => {
      if (/Content Security Policy|Trusted/i.test(message.text())) errors.push(message.text());
    });
    page.on("dialog", (dialog) => {
      errors.push(`a dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(`${address}/`)) foreign.push(request.url());
    });
    await page.goto(`${address}/`);
    if (token) await signIn(page);
    await run(page, context);
    assert.deepEqual(errors, []);
    assert.deepEqual(foreign, [], "nothing is asked of others");
  } finally {
    await browser.close();
  }
}

export async function signIn(page) {
  await page.locator("#login[open]").waitFor();
  await page.fill("#token", token);
  await page.keyboard.press("Enter");
  await page.locator("#login[open]").waitFor({ state: "detached" });
}

export const show = (page, view) => page.click(`nav a[href="#${view}"]`);

/// Rows of a table by its label: texts by the heads of the columns.
export const rows = (page, label) =>
  page.locator(`table[aria-label="${label}"]`).first().evaluate((table) =>
    [...table.tBodies[0].rows].map((row) => Object.fromEntries([...row.cells].map((cell) => [cell.dataset.label ?? "", cell.textContent]))));

export const tile = async (page, name) => (await page.locator(`[data-tile="${name}"] .value`).textContent()).trim();

/// What a person sees as a number.
export const grouped = (value) => new Intl.NumberFormat("en").format(value);

/// Tells the test that it is its turn.
export const say = (words) => console.log(words);
