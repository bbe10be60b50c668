/*
 * room.test.mjs: the page of who waits in line, in Chromium.
 *   FG_URL    https://127.0.0.1:PORT of a running gateway: /sale has a waiting room with the desk
 *             /sale-line, /slow one that lets nobody in with the desk /slow-line, /plain one without
 */
import assert from "node:assert/strict";
import { guest, runAll, test } from "./runner.mjs";

const { FG_URL } = process.env;

/* Until the line has to be stood in. */
async function openLine(page, where) {
  for (;;) {
    await page.goto(`${FG_URL}${where}`);
    if (await page.title() === "You are in line" || /ahead of you$/.test(await page.title()))
      return;
    await page.context().clearCookies();
  }
}

test("the page goes on by itself when the turn comes", async (browser) => {
  const { context, page, errors } = await guest(browser);
  await openLine(page, "/sale");
  await page.waitForFunction(() => document.body.textContent.includes("the sale itself"));
  await page.reload(); /* the pass is good for the session */
  assert.match(await page.textContent("body"), /the sale itself/);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the place moves up without a reload, and can be given back", async (browser) => {
  const first = await guest(browser), second = await guest(browser);
  await openLine(first.page, "/slow");
  await openLine(second.page, "/slow");
  await second.page.waitForFunction(() => document.getElementById("position").textContent === "1");
  await second.page.evaluate(() => { window.isTheSame = true; });
  await first.page.click("#leave");
  await first.page.waitForFunction(() => document.body.textContent.includes("You have left the line"));
  await second.page.waitForFunction(() => document.getElementById("position").textContent === "0");
  assert.ok(await second.page.evaluate(() => window.isTheSame));
  assert.match(await second.page.textContent("#wait"), /^about \d+ (minutes|hours)/);
  const wide = await second.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
  assert.deepEqual([...first.errors, ...second.errors], []);
  await first.context.close();
  await second.context.close();
});

for (const [where, javaScriptEnabled] of [["/sale", false], ["/plain", true]]) {
  test(javaScriptEnabled ? "without a desk the page loads itself anew" : "without a script the page loads itself anew", async (browser) => {
    const { context, page } = await guest(browser, { javaScriptEnabled });
    await openLine(page, where);
    await page.waitForSelector("text=the sale itself");
    await context.close();
  });
}

await runAll();
