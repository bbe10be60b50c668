/*
 * promo.test.mjs: the promotion page and the dashboard as people use them, in Chromium.
 *   FG_URL    https://127.0.0.1:PORT of a running gateway with the page, orders and a model
 *   FG_ADMIN  http://127.0.0.1:PORT of its admin listener
 */
import assert from "node:assert/strict";
import { guest as anyGuest, runAll, test } from "./runner.mjs";

const { FG_URL, FG_ADMIN } = process.env;
if (!FG_URL || !FG_ADMIN) {
  console.error("FG_URL and FG_ADMIN are not set; expected the addresses of a running gateway");
  process.exit(2);
}

/* ---- helpers ---- */

/* A new guest. `errors` gets what the console says, but for answers that `expected` matches. */
async function guest(browser, { expected = null, ...options } = {}) {
  const { context, page, errors } = await anyGuest(browser, options);
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type()) && !(expected && expected.test(message.text())))
      errors.push(`${message.text()} (${message.location().url})`);
  });
  return { context, page, errors };
}

async function openPromo(page, query = "") {
  await page.goto(`${FG_URL}/promo/${query}`);
  await page.waitForSelector("#act:not([disabled])");
}

const textHas = (page, selector, part) => page.waitForFunction(
  ([where, what]) => document.querySelector(where)?.textContent.includes(what), [selector, part]);

async function claimCard(page) {
  await page.click("#act");
  await textHas(page, "#card-text", "Yours: ");
  return (await page.textContent("#card-text")).replace("Yours: ", "");
}

const errorBody = (code, more = {}) => JSON.stringify({ error: { type: "overloaded", code, message: code, request_id: "request-1", ...more } });

/* ---- tests ---- */

test("a guest claims, orders and sees the order completed", async (browser) => {
  const { context, page, errors } = await guest(browser);
  await openPromo(page);
  assert.equal(await page.textContent("#act-text"), "Claim my free cup");
  await page.waitForSelector("#stock:not([hidden])");
  const card = await claimCard(page);
  assert.match(card, /^\S{5,}$/);
  assert.equal(await page.textContent("#act-text"), "Order my milk tea");
  await page.keyboard.press("Enter"); /* the button has kept the focus */
  await page.waitForSelector("#order:not([hidden])");
  const id = await page.textContent("#order-id");
  const seen = await page.evaluate(() => new Promise((resolve) => {
    const order = document.getElementById("order");
    const states = [order.dataset.status];
    const look = () => {
      if (states.at(-1) !== order.dataset.status)
        states.push(order.dataset.status);
      if (order.dataset.status === "completed")
        resolve(states);
    };
    new MutationObserver(look).observe(order, { attributes: true });
    look();
  }));
  assert.equal(seen.at(-1), "completed");
  assert.equal(await page.locator("#steps .done").count(), 3);
  await textHas(page, "#act-text", "Your card is used");
  await page.reload();
  await page.waitForSelector('#order[data-status="completed"]');
  assert.equal(await page.textContent("#order-id"), id, "the order is still there after a reload");
  assert.deepEqual(errors, []);
  await context.close();
});

test("a friend's invite is credited and gives another cup", async (browser) => {
  const host = await guest(browser), friend = await guest(browser);
  await openPromo(host.page);
  await host.page.click("#invite-make");
  await host.page.waitForSelector("#invite-link:not([hidden])");
  const link = await host.page.inputValue("#invite-url");
  assert.ok(link.startsWith(`${FG_URL}/promo/?invite=`), link);
  await openPromo(friend.page, new URL(link).search);
  await textHas(friend.page, "#invite-note", "Welcome");
  assert.equal(new URL(friend.page.url()).search, "", "the code has gone from the address");
  await host.page.reload();
  await textHas(host.page, "#invite-count", "One friend");
  await textHas(host.page, "#card-text", "Yours: ");
  await openPromo(host.page, new URL(link).search); /* one's own link does nothing */
  assert.deepEqual([...host.errors, ...friend.errors], []);
  await host.context.close();
  await friend.context.close();
});

test("the chat streams its answer and can be stopped", async (browser) => {
  const { context, page, errors } = await guest(browser);
  await openPromo(page);
  await page.evaluate(() => {
    window.lengths = [];
    new MutationObserver(() => window.lengths.push(document.querySelector("#log .answer:last-child")?.textContent.length ?? 0))
      .observe(document.getElementById("log"), { childList: true, subtree: true, characterData: true });
  });
  await page.fill("#question", "What is on offer?");
  await page.press("#question", "Enter");
  await page.waitForSelector("#log .answer:not(.writing)"); /* Stop may be there for too short to see */
  await page.waitForSelector("#send:not([hidden])");
  const answer = await page.textContent("#log .answer:last-child span:not(.unseen)");
  assert.ok(answer.trim().length > 0, "the answer is empty");
  const grown = await page.evaluate(() => new Set(window.lengths).size);
  assert.ok(grown >= 3, `the text grew in ${grown} steps`);
  assert.equal(await page.locator("#log .failed").count(), 0);

  await page.route("**/v1/chat/completions", (route) => new Promise(() => route)); /* an answer that never comes */
  await page.fill("#question", "And then?");
  await page.click("#send");
  await page.click("#stop");
  await page.waitForSelector("#send:not([hidden])");
  await textHas(page, "#chat-note", "Stopped");
  assert.deepEqual(errors, []);
  await context.unrouteAll({ behavior: "ignoreErrors" });
  await context.close();
});

test("text of the model is never HTML", async (browser) => {
  const { context, page, errors } = await guest(browser);
  await openPromo(page);
  const evil = '<img src=x onerror="document.title=1"><b>bold</b>';
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ contentType: "text/event-stream",
    body: `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: evil } }] })}\n\ndata: [DONE]\n\n` }));
  await page.fill("#question", "<i>hello</i>");
  await page.click("#send");
  await textHas(page, "#log", evil);
  assert.equal(await page.locator("#log img, #log b, #log i").count(), 0);
  assert.deepEqual(errors, []);
  await context.close();
});

test("told to wait, the page shows the place in line and goes on by itself", async (browser) => {
  const { context, page, errors } = await guest(browser, { expected: /status of (503|429)/ });
  const sent = [];
  await openPromo(page);
  await page.route("**/api/line/claim", (route) => route.fulfill({ status: 503, contentType: "application/json", body: errorBody("too_many_streams") }));
  await page.route("**/api/coupons/claim", (route) => {
    sent.push(route.request().headers());
    if (sent.length > 2)
      return route.continue();
    return route.fulfill({ status: sent.length === 1 ? 429 : 503, contentType: "application/json", headers: { "retry-after": "2" },
      body: errorBody("waiting_room", { retry_after_ms: 1500, queue: { position: 1234 - sent.length, eta_ms: 130000, ticket: `ticket-${sent.length}` } }) });
  });
  await page.click("#act");
  await textHas(page, "#waiting-place", "Place 1,233 · about 3 min");
  assert.ok(await page.isVisible("#waiting"));
  assert.match(await page.textContent("#waiting-count"), /Next try in \d+ s|Trying now/);
  await textHas(page, "#say", "You are in line");
  await textHas(page, "#waiting-place", "Place 1,232");
  await textHas(page, "#card-text", "Yours: ");
  assert.ok(await page.isHidden("#waiting"));
  assert.deepEqual(sent.map((headers) => headers["x-floodgate-ticket"]), [undefined, "ticket-1", "ticket-2"]);
  assert.deepEqual(errors, []);
  await context.close();
});

test("an order is repeated with the same key, over errors and reloads, and made once", async (browser) => {
  const { context, page, errors } = await guest(browser, { expected: /status of 50|ERR_FAILED/ });
  const keys = [];
  let mode = "busy";
  await openPromo(page);
  await claimCard(page);
  await page.route("**/api/orders", async (route) => {
    keys.push(route.request().headers()["idempotency-key"]);
    if (mode === "busy") {
      mode = "lost";
      return route.fulfill({ status: 503, contentType: "application/json", headers: { "retry-after": "1" }, body: errorBody("queue_full") });
    }
    if (mode === "lost") {
      mode = "hang";
      await route.fetch(); /* it gets through, but its answer is lost */
      return route.abort();
    }
    return mode === "hang" ? undefined : route.continue();
  });
  await page.click("#act");
  await page.waitForSelector("#waiting:not([hidden])");
  await page.waitForFunction(() => document.getElementById("waiting-title").textContent === "No connection");
  mode = "open";
  await page.reload(); /* does not wait: the page sends the order again by itself */
  await page.waitForSelector("#order:not([hidden])");
  await page.waitForSelector('#order[data-status="completed"]');
  await page.waitForFunction(() => localStorage.getItem("floodgate.pending") === null);
  assert.ok(keys.length >= 3 && new Set(keys).size === 1, `keys: ${keys}`);
  const orders = await page.evaluate(async () => {
    const { token } = JSON.parse(localStorage.getItem("floodgate.session"));
    return (await (await fetch("/api/me", { headers: { authorization: `Bearer ${token}` } })).json()).orders;
  });
  assert.equal(orders.length, 1);
  assert.deepEqual(errors, []);
  await context.unrouteAll({ behavior: "ignoreErrors" });
  await context.close();
});

test("errors are told in plain words, with the request's id", async (browser) => {
  const { context, page, errors } = await guest(browser, { expected: /status of 409/ });
  await openPromo(page);
  await claimCard(page);
  await page.route("**/api/orders", (route) => route.fulfill({ status: 409, contentType: "application/json",
    body: JSON.stringify({ ...JSON.parse(errorBody("sold_out")), left: 0 }) }));
  await page.click("#act");
  await textHas(page, "#notice-text", "All cups are gone");
  await textHas(page, "#notice-id", "request-1");
  await textHas(page, "#act-text", "Sold out");
  await page.click("#language");
  await textHas(page, "#notice-text", "今晚的奶茶已送完");
  assert.deepEqual(errors, []);
  await context.close();
});

test("a token that is no longer accepted is replaced once", async (browser) => {
  const { context, page, errors } = await guest(browser, { expected: /status of 401/ });
  await openPromo(page);
  await page.evaluate(() => {
    const session = JSON.parse(localStorage.getItem("floodgate.session"));
    localStorage.setItem("floodgate.session", JSON.stringify({ ...session, token: `${session.token}x` }));
  });
  await openPromo(page);
  await claimCard(page);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the language follows the browser and can be switched by keyboard", async (browser) => {
  const { context, page, errors } = await guest(browser, { locale: "zh-CN" });
  await openPromo(page);
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  assert.equal(await page.textContent("#act-text"), "领取我的免单卡");
  await page.focus("#language");
  await page.keyboard.press("Enter");
  assert.equal(await page.textContent("#act-text"), "Claim my free cup");
  await page.reload();
  await textHas(page, "#act-text", "Claim my free cup");
  const unnamed = await page.evaluate(() => [...document.querySelectorAll("button, input")]
    .filter((element) => !element.hidden && !(element.textContent.trim() || element.labels?.length)).map((element) => element.id));
  assert.deepEqual(unnamed, [], "every control has a name");
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
  assert.deepEqual(errors, []);
  await context.close();
});

test("the dashboard shows orders, tokens and workers", async (browser) => {
  const shopper = await guest(browser);
  await openPromo(shopper.page);
  await claimCard(shopper.page);
  await shopper.page.click("#act");
  await shopper.page.waitForSelector('#order[data-status="completed"]');
  const { context, page, errors } = await guest(browser, { viewport: { width: 1440, height: 1000 } });
  await page.goto(`${FG_ADMIN}/`);
  await textHas(page, "#ready", "ready");
  const fact = (card, name) => page.waitForFunction(([id, wanted]) => {
    const item = [...document.querySelectorAll(`#${id} .facts div`)].find((one) => one.firstChild.textContent === wanted);
    return item && Number(item.lastChild.textContent.replace(/\D/g, "")) >= 1;
  }, [card, name]);
  await fact("orders", "completed");
  await fact("orders", "milk-tea left");
  await fact("kv", "total");
  await page.waitForFunction(() => [...document.querySelectorAll("#workers tbody .chip")].filter((chip) => chip.textContent === "running").length >= 1);
  await page.waitForFunction(() => [...document.querySelectorAll("#routes tbody tr")].some((row) => row.firstChild.textContent === "order"));
  await page.waitForFunction(() => document.querySelectorAll("#backends tbody tr").length >= 2);
  const policy = (card, name, now) => page.waitForFunction(([id, wanted, does]) =>
    [...document.querySelectorAll(`#${id} tbody tr`)].some((row) => row.firstChild.textContent === wanted && row.lastChild.textContent === does),
  [card, name, now]);
  await policy("limits", "limit per-user", "lets pass");
  await policy("backends", "route order", "lets in");
  await page.waitForFunction(() => document.querySelectorAll(".uplot canvas").length === 12);
  assert.deepEqual(errors, []);
  await shopper.context.close();
  await context.close();
});

test("the dashboard says when the gateway does not answer and when it is back", async (browser) => {
  const { context, page } = await guest(browser, { viewport: { width: 390, height: 844 } });
  await page.goto(`${FG_ADMIN}/`);
  await textHas(page, "#ready", "ready");
  await page.route("**/stats", (route) => route.abort());
  await textHas(page, "#alerts", "The gateway does not answer.");
  assert.ok(await page.evaluate(() => document.body.classList.contains("stale")));
  await page.unroute("**/stats");
  await page.waitForFunction(() => !document.body.classList.contains("stale"));
  await page.waitForFunction(() => !document.getElementById("alerts").textContent.includes("does not answer"));
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `the page is ${wide} px wider than the phone`);
  await context.close();
});

/* ---- run ---- */

await runAll();
