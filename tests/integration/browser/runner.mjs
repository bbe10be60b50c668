/*
 * runner.mjs: tests in Chromium, one after the other.
 *   FG_NODE_MODULES  where playwright-core is, if not beside this file; FG_CHROMIUM the browser
 * Prints one line a test, "ok NAME" or "not ok NAME: why"; exit code 1 if one failed. Waits are for
 * conditions only; their bound ends a test that fails.
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const { FG_NODE_MODULES, FG_CHROMIUM } = process.env;
const require = createRequire(FG_NODE_MODULES ? path.join(path.resolve(FG_NODE_MODULES), "..", "x.js") : import.meta.url);
const { chromium } = require("playwright-core");
const executablePath = FG_CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser"].find(existsSync);
const ARGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const WAIT_MS = 45000;

const tests = [];

/* `run` gets the browser. */
export const test = (name, run) => tests.push({ name, run });

/* A new guest on a phone. `errors` gets what scripts throw. */
export async function guest(browser, options = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, locale: "en-US", viewport: { width: 390, height: 844 }, ...options });
  context.setDefaultTimeout(WAIT_MS);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error.stack)));
  return { context, page, errors };
}

/* All tests, then the end of the process. */
export async function runAll() {
  const browser = await chromium.launch({ executablePath, args: ARGS });
  let failed = 0;
  for (const { name, run } of tests) {
    try {
      await run(browser);
      console.log(`ok ${name}`);
    } catch (error) {
      failed++;
      console.log(`not ok ${name}: ${String(error.message).replaceAll(/\s+/g, " ").slice(0, 700)}`);
      await Promise.all(browser.contexts().map((context) => context.close().catch(() => {})));
    }
  }
  await browser.close();
  process.exit(failed > 0 ? 1 : 0);
}
