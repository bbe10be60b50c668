/*
 * api.js: how the page talks to the gateway, and how it behaves when told to wait.
 * Waits    on 429 and 503 as long as Retry-After or retry_after_ms says, and a little longer by
 *          chance, never shorter; keeps the ticket of a waiting room and shows it with the next try.
 * Watches  its place by an event stream, where the route has a desk for it: no tries until its turn.
 * Repeats  only what may be repeated: a request that is `safe` (reads, a claim, an order with its
 *          Idempotency-Key) also after a lost connection or a 502 or 504; all are bounded.
 * Tells    the caller through `onWait` where it stands; the caller can end it with an AbortSignal.
 */

const TRIES_MAX = 8; /* without a place in line */
const LINE_MS_MAX = 30 * 60 * 1000; /* with one */
const ANSWER_MS_MAX = 35000;
const SILENCE_MS_MAX = 60000; /* of a stream */
const WAIT_MS_MAX = 120000;
/* Where a place in the line of a path can be watched; without it, or when it is busy, by trying. */
const DESKS = { "/api/coupons/claim": "/api/line/claim" };

export class ApiError extends Error {
  constructor(code, status, requestId, body) {
    super(code);
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.body = body;
  }
}

/* ---- what is kept ---- */

const memory = new Map(); /* where there is no storage */

export const kept = {
  get(name) {
    try {
      return localStorage.getItem(`floodgate.${name}`);
    } catch {
      return memory.get(name) ?? null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(`floodgate.${name}`, value);
    } catch {
      memory.set(name, value);
    }
  },
  drop(name) {
    try {
      localStorage.removeItem(`floodgate.${name}`);
    } catch {
      memory.delete(name);
    }
  },
};

export function randomId() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}

/* ---- waiting ---- */

export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted)
      return reject(signal.reason);
    const end = () => { clearTimeout(timer); reject(signal.reason); };
    const timer = setTimeout(() => { signal?.removeEventListener("abort", end); resolve(); }, ms);
    signal?.addEventListener("abort", end, { once: true });
  });
}

function retryAfterMs(response, error, tries) {
  let ms = error?.retry_after_ms;
  if (!(ms > 0)) {
    const field = response?.headers.get("retry-after") ?? "";
    ms = /^\d+$/.test(field) ? Number(field) * 1000 : field === "" ? NaN : Date.parse(field) - Date.now();
  }
  if (!(ms > 0))
    ms = Math.min(1000 * 2 ** tries, 15000);
  return Math.min(ms, WAIT_MS_MAX) * (1 + Math.random() * 0.15);
}

/* ---- requests ---- */

let session = null; /* the token, as a promise while it is on its way */

async function openSession(options) {
  let device = kept.get("device");
  if (device === null) {
    device = randomId();
    kept.set("device", device);
  }
  const answer = await request("/api/session", { ...options, method: "POST", body: { device_id: device }, safe: true, anonymous: true });
  const { token, user_id, expires_at } = await answer.json();
  kept.set("session", JSON.stringify({ token, user_id, expires_at }));
  return token;
}

function keptToken() {
  try {
    const { token, expires_at } = JSON.parse(kept.get("session") ?? "{}");
    return token && Date.parse(expires_at) > Date.now() + 60000 ? token : null;
  } catch {
    return null;
  }
}

async function tokenFor(options) {
  session ??= Promise.resolve(keptToken() ?? openSession({ onWait: options.onWait, signal: options.signal }));
  const mine = session;
  try {
    return await mine;
  } catch (error) {
    if (session === mine)
      session = null;
    throw error;
  }
}

/* Until the head of the answer; `signal` ends it and, of a stream, also the body. */
async function fetchOnce(path, options, token) {
  const headers = { accept: options.accept ?? "application/json", ...options.headers };
  if (token !== undefined)
    headers.authorization = `Bearer ${token}`;
  if (options.body !== undefined)
    headers["content-type"] = "application/json";
  const ticket = kept.get(`ticket.${path}`);
  if (ticket !== null)
    headers["x-floodgate-ticket"] = ticket;
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(), options.headMs ?? ANSWER_MS_MAX);
  const onEnd = () => late.abort();
  options.signal?.addEventListener("abort", onEnd, { once: true });
  try {
    return await fetch(path, { method: options.method ?? "GET", headers, cache: "no-store", signal: late.signal,
      body: options.body === undefined ? undefined : JSON.stringify(options.body) });
  } finally {
    clearTimeout(timer);
  }
}

async function errorOf(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    /* not ours: a proxy between, or cut off */
  }
  const error = body?.error ?? {};
  return new ApiError(error.code ?? `status_${response.status}`, response.status,
    error.request_id ?? response.headers.get("x-request-id") ?? "", body);
}

/* May it be sent again, and is it worth it? */
function isRepeatable(status, isSafe) {
  return status === 429 || status === 503 || (isSafe && (status === 0 || status === 502 || status === 504));
}

/*
 * Until it is this guest's turn, or the place is lost: then trying says what is next. False: the
 * place could not be watched, or no longer.
 */
async function watchPlace(path, ticket, token, options) {
  const headers = { "x-floodgate-ticket": ticket };
  try {
    const response = await fetchOnce(DESKS[path], { accept: "text/event-stream", headers, signal: options.signal }, token);
    if (!response.ok || !response.headers.get("content-type")?.startsWith("text/event-stream"))
      return response.ok && (await response.json()).state === "admitted";
    for await (const data of events(response, options.signal)) {
      const place = JSON.parse(data);
      if (place.ticket)
        kept.set(`ticket.${path}`, place.ticket);
      if (place.state !== "waiting")
        return true;
      options.onWait?.({ ms: place.retry_after_ms ?? 1000, position: place.position, etaMs: place.eta_ms, isOffline: false, isWatched: true });
    }
  } catch {
    options.signal?.throwIfAborted();
  }
  return false;
}

/*
 * The response, which is fine; or an ApiError. Options: method, body, headers, accept, safe, signal,
 * onWait({ms, position?, etaMs?, isOffline, isWatched?}), onGo(), headMs.
 */
export async function request(path, options = {}) {
  const ticketName = `ticket.${path}`;
  const startedMs = Date.now();
  let mayRenew = !options.anonymous;
  for (let tries = 0; ; tries++) {
    const token = options.anonymous ? undefined : await tokenFor(options);
    let response = null, error;
    try {
      response = await fetchOnce(path, options, token);
    } catch {
      options.signal?.throwIfAborted();
      error = new ApiError("network", 0, "", null);
    }
    if (response?.ok) {
      kept.drop(ticketName);
      return response;
    }
    error ??= await errorOf(response);
    options.signal?.throwIfAborted();
    if (error.status === 401 && mayRenew) {
      mayRenew = false;
      session = null;
      kept.drop("session");
      continue;
    }
    const queue = error.body?.error?.queue;
    const isInLine = queue?.ticket !== undefined && Date.now() - startedMs < LINE_MS_MAX;
    if (!isRepeatable(error.status, options.safe) || (!isInLine && tries >= TRIES_MAX)) {
      if (error.status === 429 || error.status === 503)
        error.code = "still_busy";
      else
        kept.drop(ticketName);
      throw error;
    }
    if (queue?.ticket)
      kept.set(ticketName, queue.ticket);
    const ms = retryAfterMs(response, error.body?.error, tries);
    options.onWait?.({ ms, position: queue?.position, etaMs: queue?.eta_ms, isOffline: error.status === 0 });
    if (!(queue?.ticket && DESKS[path] && await watchPlace(path, queue.ticket, token, options)))
      await sleep(ms, options.signal);
    options.onGo?.();
  }
}

export async function getJson(path, options) {
  return (await request(path, { safe: true, ...options })).json();
}

/* ---- server-sent events over fetch, since EventSource cannot send a token ---- */

/* The data of each event, until the stream ends. Throws ApiError("network") when it breaks. */
export async function* events(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "", data = [];
  const end = () => reader.cancel().catch(() => {});
  signal?.addEventListener("abort", end, { once: true });
  try {
    for (;;) {
      let timer;
      const silence = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("silence")), SILENCE_MS_MAX); });
      const { value, done } = await Promise.race([reader.read(), silence]).finally(() => clearTimeout(timer));
      signal?.throwIfAborted();
      if (done)
        return;
      buffer += value;
      const lines = buffer.split(/\r\n|\n|\r(?!$)/);
      buffer = lines.pop();
      for (const line of lines) {
        if (line === "" && data.length > 0) {
          yield data.join("\n");
          data = [];
        } else if (line.startsWith("data:")) {
          data.push(line.slice(line[5] === " " ? 6 : 5));
        }
      }
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof ApiError ? error : new ApiError("network", 0, "", null);
  } finally {
    signal?.removeEventListener("abort", end);
    end();
  }
}
