/*
 * app.js: the promotion page: claim a card, order, watch the order, invite, chat.
 * State    `me` is what the gateway last said about this guest; render() draws all of it.
 * Orders   an order's Idempotency-Key is kept until an answer came, over reloads, too: sending it
 *          again, after whatever went wrong, cannot order twice.
 * Never    puts text of others into the page as HTML.
 */
import { ApiError, events, getJson, kept, randomId, request, sleep } from "./api.js";
import { durationText, errorText, firstLanguage, isChinese, numberText, setLanguage, t } from "./words.js";

const SKU = "milk-tea";
const PENDING_MS_MAX = 60 * 60 * 1000; /* then the gateway may have forgotten the key */
const STOCK_EVERY_MS = 15000;
const POLL_EVERY_MS = 2000;
const HISTORY_MAX = 9; /* messages that go with a question */
const ANSWER_TOKENS_MAX = 160;
const FINAL = ["completed", "cancelled"];

const byId = (id) => document.getElementById(id);
const show = (element, isShown) => { element.hidden = !isShown; };

let me = null; /* {user_id, coupons, invites, orders, version} */
let stock; /* cups left; undefined: not known */
let order = null; /* the one on the page: {order_id, status, version} */
let doing = "loading"; /* "", or the word on the button while something is under way */
let waiting = null; /* {untilMs, ms, position, etaMs, isOffline, isWatched} */
let trouble = null; /* ApiError to show */
let abort = null; /* ends what the button started */
let watched = null; /* AbortController of the watched order */

const say = (text) => { byId("say").textContent = text; };

/* ---- drawing ---- */

const coupon = () => me?.coupons?.find((c) => c.status === "unused");
const isOrderOpen = () => order !== null && !FINAL.includes(order.status);
const isSoldOut = () => stock === 0 && !isOrderOpen();

/* [text on the button, what a click does] */
function action() {
  if (doing !== "")
    return [t(doing), null];
  if (isOrderOpen())
    return [t("making"), null];
  if (me === null)
    return [t("again"), start];
  if (readPending() !== null)
    return [t("again"), placeOrder];
  if (isSoldOut())
    return [t("soldOut"), null];
  if (coupon())
    return [t(me.orders?.length > 0 ? "another" : "order"), placeOrder];
  return me.coupons?.length > 0 && me.coupons.some((c) => c.source === "claim") ? [t("used"), null] : [t("claim"), claim];
}

function cardText() {
  if (me === null)
    return t(doing === "loading" ? "cardLoading" : "cardOffline");
  if (isSoldOut() && !coupon())
    return t("cardGone");
  const mine = coupon();
  if (mine)
    return t("cardMine", mine.coupon_id);
  return t(me.coupons?.length > 0 ? "cardUsed" : "cardNone");
}

function renderOrder() {
  show(byId("order"), order !== null);
  if (order === null)
    return;
  byId("order-id").textContent = order.order_id;
  const isCancelled = order.status === "cancelled";
  const at = ["accepted", "confirmed", "completed"].indexOf(order.status);
  [...byId("steps").children].forEach((step, i) => {
    step.className = i < at || (i === at && i === 2) ? "done" : i === at ? "now" : "";
    if (i === at)
      step.setAttribute("aria-current", "step");
    else
      step.removeAttribute("aria-current");
  });
  byId("order").dataset.status = order.status;
  show(byId("order-cancelled"), isCancelled);
  const earlier = (me?.orders ?? []).filter((o) => o.order_id !== order.order_id).slice(-5).reverse();
  show(byId("earlier"), earlier.length > 0);
  byId("earlier-list").replaceChildren(...earlier.map((o) => {
    const item = document.createElement("li");
    const id = document.createElement("code");
    id.textContent = o.order_id;
    item.append(id, t(o.status) ?? o.status);
    return item;
  }));
}

function renderStock() {
  show(byId("stock"), stock !== undefined);
  if (stock === undefined)
    return;
  byId("stock").className = `stock ${stock === 0 ? "none" : stock < 500 ? "low" : ""}`;
  byId("stock-text").textContent = stock === 0 ? t("stockNone") : t(stock < 500 ? "stockLast" : "stock", numberText(stock));
  byId("cup").classList.toggle("gone", stock === 0);
}

function renderInvite() {
  const code = me?.invites?.code;
  show(byId("invite-make"), !code);
  show(byId("invite-link"), Boolean(code));
  byId("invite-make").disabled = me === null;
  if (!code)
    return;
  byId("invite-url").value = `${location.origin}${location.pathname}?invite=${encodeURIComponent(code)}`;
  byId("invite-count").textContent = t("inviteCount", me.invites.accepted ?? 0);
}

function render() {
  const [text, run] = action();
  byId("act-text").textContent = text;
  byId("act").disabled = run === null;
  show(byId("act"), waiting === null);
  show(byId("waiting"), waiting !== null);
  byId("card-text").textContent = cardText();
  show(byId("notice"), trouble !== null);
  if (trouble !== null) {
    byId("notice-text").textContent = errorText(trouble.code);
    byId("notice-id").textContent = trouble.requestId ? t("requestId", trouble.requestId) : "";
  }
  byId("me").textContent = me?.user_id ? t("guest", me.user_id) : "";
  renderOrder();
  renderStock();
  renderInvite();
}

/* ---- waiting ---- */

function placeText({ position, etaMs }) {
  if (position === undefined)
    return "";
  return etaMs > 0 ? t("waitPlaceEta", numberText(position), durationText(etaMs)) : t("waitPlace", numberText(position));
}

function renderWaiting() {
  if (waiting === null)
    return;
  const leftMs = waiting.untilMs - performance.now();
  const isInLine = waiting.position !== undefined;
  byId("waiting-title").textContent = t(waiting.isOffline ? "waitNetwork" : isInLine ? "waitLine" : "waitBusy");
  byId("waiting-place").textContent = placeText(waiting);
  byId("waiting-count").textContent = waiting.isWatched ? t("waitTurn") : leftMs > 0 ? t("waitCount", Math.ceil(leftMs / 1000)) : t("waitNow");
  byId("ring").style.strokeDashoffset = waiting.isWatched ? "0" : String(100 * (1 - Math.max(0, leftMs) / waiting.ms));
}

function onWait(place) {
  const isNews = !(place.isWatched && waiting?.isWatched); /* a place that moves is seen, not said */
  waiting = { ...place, untilMs: performance.now() + place.ms };
  trouble = null;
  render();
  renderWaiting();
  if (isNews)
    say([byId("waiting-title").textContent, placeText(place), t(place.isOffline ? "waitNetworkText" : "waitKeep")].filter(Boolean).join(". "));
}

setInterval(renderWaiting, 250);

/* One thing at a time: the button's. True when it was done. */
async function perform(word, work) {
  abort = new AbortController();
  doing = word;
  trouble = null;
  render();
  try {
    await work({ onWait, signal: abort.signal });
    return true;
  } catch (error) {
    if (!abort.signal.aborted)
      trouble = error instanceof ApiError ? error : new ApiError("other", 0, "", null);
    if (trouble !== null && !(error instanceof ApiError))
      console.error(error);
    return false;
  } finally {
    doing = "";
    waiting = null;
    render();
  }
}

/* ---- what the guest has ---- */

function takeMe(fresh) {
  if (me !== null && fresh.version < me.version)
    return;
  me = fresh;
  const latest = fresh.orders?.at(-1);
  if (latest && (order === null || latest.order_id !== order.order_id || latest.version > order.version))
    takeOrder(latest);
}

async function refreshMe(options) {
  takeMe(await getJson("/api/me", options));
  render();
}

async function start() {
  await perform("loading", refreshMe);
  if (me === null)
    return;
  if (isOrderOpen())
    watch(order.order_id);
  await acceptInvite();
  if (readPending() !== null) /* the page was left while the order was on its way */
    await placeOrder();
}

async function claim() {
  const isDone = await perform("claiming", async (options) => {
    try {
      await request("/api/coupons/claim", { method: "POST", body: {}, safe: true, ...options });
    } catch (error) {
      const had = error.body?.coupon_id ?? error.body?.error?.coupon_id;
      if (error.code !== "already_claimed" || !had)
        throw error;
    }
    await refreshMe(options);
  });
  if (isDone) {
    say(cardText());
    byId("act").focus({ preventScroll: true });
  }
}

/* ---- ordering ---- */

function readPending() {
  try {
    const pending = JSON.parse(kept.get("pending"));
    return pending !== null && Date.now() - pending.at < PENDING_MS_MAX ? pending : null;
  } catch {
    return null;
  }
}

async function placeOrder() {
  const pending = readPending() ?? { key: randomId(), at: Date.now(), body: { sku: SKU, quantity: 1, coupon_id: coupon().coupon_id } };
  kept.set("pending", JSON.stringify(pending));
  const isDone = await perform("ordering", async (options) => {
    try {
      const answer = await request("/api/orders", { method: "POST", body: pending.body, safe: true,
        headers: { "idempotency-key": pending.key }, ...options });
      const placed = await answer.json();
      kept.drop("pending");
      takeOrder(placed);
      watch(placed.order_id);
    } catch (error) {
      if (error instanceof ApiError && error.status >= 400 && error.status < 500 && error.status !== 401 && error.status !== 429)
        kept.drop("pending"); /* refused for good: nothing was ordered */
      if (error.code === "sold_out")
        stock = error.body?.left > 0 ? stock : 0;
      throw error;
    }
    await refreshMe(options).catch(() => {}); /* the order is placed, whatever this says */
  });
  if (isDone)
    byId("order").scrollIntoView({ block: "nearest", behavior: "smooth" });
  else if (["coupon_used", "coupon_unknown", "sold_out"].includes(trouble?.code))
    refreshMe({}).catch(() => {});
}

function takeOrder(fresh) {
  const isSame = order?.order_id === fresh.order_id;
  if (isSame && fresh.version <= order.version)
    return;
  order = { ...fresh };
  const listed = me?.orders?.find((o) => o.order_id === fresh.order_id);
  if (listed)
    listed.status = fresh.status;
  const step = byId("steps").querySelector(`[data-step="${CSS.escape(fresh.status)}"]`);
  if (isSame || fresh.version === 1)
    say(step ? step.innerText.replace(/\s+/g, " ") : t("cancelledText"));
  render();
}

/* Follows the order to its end: the event stream, or asking again and again when streams fail. */
async function watch(id) {
  watched?.abort();
  watched = new AbortController();
  const { signal } = watched;
  const path = `/api/orders/${encodeURIComponent(id)}`;
  let failures = 0;
  try {
    while (order?.order_id === id && isOrderOpen()) {
      if (failures < 2) {
        try {
          const answer = await request(`${path}/events`, { accept: "text/event-stream", safe: true, signal });
          for await (const data of events(answer, signal)) {
            takeOrder(JSON.parse(data));
            failures = 0;
          }
        } catch (error) {
          signal.throwIfAborted();
          if (error.status === 404)
            return;
        }
        failures++;
      } else {
        takeOrder(await getJson(path, { signal }));
      }
      if (isOrderOpen())
        await sleep(POLL_EVERY_MS * (0.9 + Math.random() * 0.2), signal);
    }
    await refreshMe({ signal });
  } catch {
    if (!signal.aborted && isOrderOpen()) /* given up for now: looked at again when the page is */
      watched = null;
  }
}

/* ---- stock ---- */

async function readStock() {
  const answer = await fetch(`/api/stock/${SKU}`);
  if (!answer.ok)
    return Number(answer.headers.get("retry-after")) * 1000;
  const { left } = await answer.json();
  if (typeof left === "number")
    stock = left;
  render();
  return 0;
}

async function followStock() {
  for (;;) {
    let toldMs = 0;
    if (!document.hidden)
      toldMs = await readStock().catch(() => 0);
    await sleep(Math.max(toldMs || 0, STOCK_EVERY_MS) * (1 + Math.random() * 0.3));
  }
}

/* ---- invites ---- */

function inviteNote(text, requestId) {
  byId("invite-note").textContent = requestId ? `${text} (${t("requestId", requestId)})` : text;
}

async function acceptInvite() {
  const code = new URLSearchParams(location.search).get("invite");
  if (!code)
    return;
  history.replaceState(null, "", location.pathname);
  if (kept.get(`invite.${code}`) !== null || code === me.invites?.code)
    return;
  try {
    await request(`/api/invites/${encodeURIComponent(code)}/accept`, { method: "POST", body: {}, safe: true });
    inviteNote(t("inviteThanks"));
    kept.set(`invite.${code}`, "accepted");
  } catch (error) {
    inviteNote(errorText(error.code), error.requestId);
    if (error.status >= 400 && error.status < 500 && error.status !== 429)
      kept.set(`invite.${code}`, error.code);
  }
}

async function makeInvite() {
  byId("invite-make").disabled = true;
  inviteNote("");
  try {
    const { code } = await (await request("/api/invites", { method: "POST", body: {}, safe: true })).json();
    me.invites = { ...me.invites, code };
    render();
    byId("invite-url").select();
  } catch (error) {
    inviteNote(errorText(error.code), error.requestId);
  }
  render();
}

async function copyInvite() {
  const url = byId("invite-url").value;
  try {
    await navigator.clipboard.writeText(url);
  } catch {
    byId("invite-url").select();
    document.execCommand("copy");
  }
  byId("invite-copy").textContent = t("copied");
  say(t("copied"));
  setTimeout(() => { byId("invite-copy").textContent = t("copy"); }, 2000);
}

/* ---- chat ---- */

const talk = []; /* {role, content} */
let answering = null; /* AbortController */

function bubble(className, text, who) {
  const p = document.createElement("p");
  p.className = className;
  const name = document.createElement("span");
  name.className = "unseen";
  name.textContent = `${who}: `;
  const words = document.createElement("span");
  words.textContent = text;
  p.append(name, words);
  byId("log").append(p);
  byId("log").scrollTop = byId("log").scrollHeight;
  return words;
}

const chatNote = (text) => { byId("chat-note").textContent = text; };

function chatWait({ ms, position }) {
  const until = performance.now() + ms;
  const tell = () => {
    const left = Math.max(0, Math.ceil((until - performance.now()) / 1000));
    chatNote(position === undefined ? t("chatBusy", left) : t("chatBusyPlace", left, numberText(position)));
  };
  tell();
  clearInterval(chatWait.timer);
  chatWait.timer = setInterval(tell, 500);
}

function chatWaitEnd() {
  clearInterval(chatWait.timer);
  chatNote("");
}

/* Puts the answer into `words` as it comes; returns how it ended, null for well. */
async function readAnswer(words, signal) {
  const answer = await request("/v1/chat/completions", { method: "POST", accept: "text/event-stream", signal,
    body: { stream: true, max_tokens: ANSWER_TOKENS_MAX, messages: talk.slice(-HISTORY_MAX) }, onWait: chatWait, onGo: chatWaitEnd, headMs: 120000 });
  chatWaitEnd();
  const log = byId("log");
  for await (const data of events(answer, signal)) {
    if (data === "[DONE]")
      return;
    const event = JSON.parse(data);
    if (event.error)
      throw new ApiError(event.error.code, 0, event.error.request_id ?? "", event);
    const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    words.textContent += event.choices?.[0]?.delta?.content ?? "";
    if (isAtEnd)
      log.scrollTop = log.scrollHeight;
  }
  throw new ApiError("cut", 0, answer.headers.get("x-request-id") ?? "", null);
}

async function ask(question) {
  bubble("asked", question, t("you"));
  talk.push({ role: "user", content: question });
  const words = bubble("answer writing", "", t("master"));
  answering = new AbortController();
  show(byId("send"), false);
  show(byId("stop"), true);
  let failed = null;
  try {
    await readAnswer(words, answering.signal);
  } catch (error) {
    failed = error;
  }
  chatWaitEnd();
  words.parentElement.classList.remove("writing");
  if (answering.signal.aborted)
    chatNote(t("chatStopped"));
  else if (failed !== null)
    showChatError(words, failed);
  if (words.textContent === "")
    words.parentElement.remove();
  if (failed !== null && words.textContent === "")
    talk.pop(); /* an unanswered question would confuse the next answer */
  else
    talk.push({ role: "assistant", content: words.textContent });
  say(words.textContent);
  answering = null;
  show(byId("send"), true);
  show(byId("stop"), false);
  byId("question").focus({ preventScroll: true });
}

function showChatError(words, error) {
  const text = error.code === "cut" || words.textContent !== "" ? t("chatCut") : errorText(error.code);
  const failed = bubble("answer failed", text, t("master"));
  if (error.requestId) {
    const id = document.createElement("span");
    id.className = "id";
    id.textContent = ` ${t("requestId", error.requestId)}`;
    failed.after(id);
  }
}

/* ---- begin ---- */

function chooseLanguage(code, isChosen) {
  setLanguage(code, isChosen);
  byId("language").textContent = isChinese() ? "English" : "中文";
  byId("language").lang = isChinese() ? "en" : "zh-CN";
  render();
  renderWaiting();
}

byId("language").addEventListener("click", () => chooseLanguage(isChinese() ? "en" : "zh", true));
byId("act").addEventListener("click", () => action()[1]?.());
byId("waiting-stop").addEventListener("click", () => { abort?.abort(); });
byId("invite-make").addEventListener("click", makeInvite);
byId("invite-copy").addEventListener("click", copyInvite);
byId("invite-url").addEventListener("focus", (event) => event.target.select());
byId("stop").addEventListener("click", () => answering?.abort());
byId("chat").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (question === "" || answering !== null)
    return;
  byId("question").value = "";
  ask(question);
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && isOrderOpen() && (watched === null || watched.signal.aborted))
    watch(order.order_id);
});

chooseLanguage(firstLanguage(), false);
followStock();
start();
