/*
 * dashboard.js: asks /stats every second and draws what it says.
 * Keeps    the last five minutes in `ring`: one object of numbers a sample, key to value; a sample
 *          that could not be had is an object without them, which is a gap in the charts.
 * Rates    are differences of totals between two samples, so a restarted gateway is a gap, too.
 * Never    builds HTML from strings; every part of the answer may be missing.
 */
"use strict";

const WINDOW_S = 300;
const STALE_AFTER_MS = 3500;
const ANSWER_MS_MAX = 4000;
const CLASSES = { "2xx": "--ok", "3xx": "--redir", "4xx": "--client", "5xx": "--server", none: "--c8" };
const PALETTE = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];

const ring = [];
let last = null; /* {stats, totals, atS} of the latest answer */
let answeredAt = Date.now();

/* ---- reading ---- */

const byId = (id) => document.getElementById(id);

function at(object, path) {
  for (const name of path.split("."))
    object = object === null || object === undefined ? undefined : object[name];
  return object;
}

function number(object, path) {
  const value = at(object, path);
  return typeof value === "number" ? value : undefined;
}

const entries = (object) => (object && typeof object === "object" ? Object.entries(object) : []);

/* Everything that only grows, by key. */
function totalsOf(stats) {
  const totals = {};
  const put = (key, value) => {
    if (typeof value === "number")
      totals[key] = value;
  };
  put("requests", number(stats, "gateway.requests.total"));
  for (const [name, value] of entries(at(stats, "gateway.requests.by_class")))
    put(`class.${name}`, value);
  for (const [name, value] of entries(at(stats, "gateway.requests.refused")))
    put(`refused.${name}`, value);
  for (const [name, hop] of entries(at(stats, "gateway.hops_s")))
    put(`hop.${name}`, number(hop, "sum"));
  for (const [name, route] of entries(stats.routes)) {
    put(`route.${name}`, number(route, "requests"));
    put(`route_seconds.${name}`, number(route, "latency_s.sum"));
    put(`route_count.${name}`, number(route, "latency_s.count"));
    put(`route_refused.${name}`, entries(route.refused).reduce((sum, [, n]) => sum + n, 0));
  }
  for (const [name, value] of entries(at(stats, "cache.results")))
    put(`cache.${name}`, value);
  put("accepted", number(stats, "gateway.connections.accepted"));
  for (const [name, limit] of entries(at(stats, "policies.rate_limits")))
    put(`limit_refused.${name}`, number(limit, "refused"));
  put("placed", number(stats, "orders.orders_placed"));
  put("claims", number(stats, "orders.claims"));
  for (const state of ["completed", "cancelled"])
    put(`orders.${state}`, number(stats, `orders.orders.${state}`));
  put("tokens.out", number(stats, "inference.tokens.completion"));
  put("tokens.in", number(stats, "inference.tokens.prompt"));
  put("cpu.user", number(stats, "process.cpu_user_s"));
  put("cpu.system", number(stats, "process.cpu_system_s"));
  return totals;
}

/* Everything that goes up and down, by key. */
function gaugesOf(stats) {
  const gauges = {};
  for (const [name, gate] of entries(at(stats, "policies.backends"))) {
    gauges[`inflight.${name}`] = number(gate, "concurrency.in_flight");
    gauges[`queue.${name}`] = number(gate, "queue.waiting");
  }
  for (const [name, room] of entries(at(stats, "policies.waiting_rooms")))
    gauges[`room.${name}`] = number(room, "waiting");
  gauges["kv.used"] = number(stats, "inference.kv.blocks_used");
  gauges["open"] = number(stats, "gateway.connections.open");
  gauges["lag"] = number(stats, "process.loop_lag_s");
  return gauges;
}

function sampleOf(stats) {
  const totals = totalsOf(stats);
  const sample = gaugesOf(stats);
  const atS = number(stats, "process.uptime_s") ?? performance.now() / 1000;
  const seconds = last === null ? 0 : atS - last.atS;
  const isSame = last !== null && at(last.stats, "process.pid") === at(stats, "process.pid");
  if (isSame && seconds > 0.2) {
    for (const key of Object.keys(totals)) {
      const grown = totals[key] - last.totals[key];
      if (grown >= 0)
        sample[`${key}/s`] = grown / seconds;
    }
    addMeans(sample);
  }
  last = { stats, totals, atS };
  return sample;
}

/* Means of what ended in this second: seconds a request of a route, seconds a request in a hop. */
function addMeans(sample) {
  for (const key of Object.keys(sample)) {
    const name = key.slice(key.indexOf(".") + 1, -2);
    if (key.startsWith("route_seconds.") && sample[`route_count.${name}/s`] > 0)
      sample[`mean.${name}`] = sample[key] / sample[`route_count.${name}/s`];
    else if (key.startsWith("hop.") && sample["requests/s"] > 0)
      sample[`hop_mean.${name}`] = sample[key] / sample["requests/s"];
  }
}

/* Of the latest samples that have it; undefined when none has. */
function recent(key, seconds = 5) {
  const values = ring.slice(-seconds).map((s) => s[key]).filter((v) => v !== undefined);
  return values.length === 0 ? undefined : values.reduce((sum, v) => sum + v, 0) / values.length;
}

function recentSum(prefix) {
  const rates = Object.keys(last.totals).filter((key) => key.startsWith(prefix))
    .map((key) => recent(`${key}/s`)).filter((rate) => rate !== undefined);
  return rates.length === 0 ? undefined : rates.reduce((sum, rate) => sum + rate, 0);
}

/* ---- writing numbers ---- */

function count(value) {
  if (value === undefined || value === null)
    return "–";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e4]])
    if (value >= size)
      return `${(value / (size === 1e4 ? 1e3 : size)).toFixed(1)}${unit}`;
  return value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString("en") : value.toFixed(1);
}

const whole = (value) => (value === undefined ? "–" : Math.round(value).toLocaleString("en"));

function duration(seconds) {
  if (seconds === undefined || seconds === null)
    return "–";
  if (seconds < 0.001)
    return `${Math.round(seconds * 1e6)} µs`;
  if (seconds < 1)
    return `${(seconds * 1e3).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
  if (seconds < 120)
    return `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120)
    return `${minutes} min`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${Math.floor(minutes / 1440)} d`;
}

function bytes(value) {
  if (value === undefined)
    return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]])
    if (value >= size)
      return `${(value / size).toFixed(value / size < 10 ? 1 : 0)} ${unit}`;
  return `${value} B`;
}

const percent = (part) => (part === undefined || !Number.isFinite(part) ? "–"
  : `${(part * 100).toFixed(part > 0 && part < 0.1 ? 1 : 0)} %`);
const words = (name) => name.replaceAll("_", " ");
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString("en-GB");

/* ---- elements ---- */

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className)
    element.className = className;
  if (text !== undefined)
    element.textContent = text;
  return element;
}

function setText(element, text) {
  if (element.textContent !== text)
    element.textContent = text;
}

function meter(part, text) {
  const box = make("div", "meter");
  const track = make("div", "track");
  const share = Number.isFinite(part) ? Math.min(1, Math.max(0, part)) : 0;
  const fill = make("div", `fill ${share > 0.95 ? "bad" : share > 0.8 ? "warn" : ""}`);
  fill.style.width = `${share * 100}%`;
  track.append(fill);
  box.append(track, make("span", "", text));
  return box;
}

function facts(list) {
  const box = make("dl", "facts");
  for (const [name, value] of list) {
    const one = make("div");
    one.append(make("dt", "", name), make("dd", "", value));
    box.append(one);
  }
  return box;
}

/* Cells are text, elements, or [text, class]. */
function fillTable(id, rows, numeric, emptyText) {
  const body = byId(id).querySelector("tbody");
  const columns = byId(id).querySelectorAll("th").length;
  body.replaceChildren(...rows.map((cells) => {
    const row = make("tr");
    cells.forEach((cell, i) => {
      const [content, extra] = Array.isArray(cell) ? cell : [cell, ""];
      const td = make("td", `${numeric.includes(i) ? "num " : ""}${extra}`);
      td.append(content);
      row.append(td);
    });
    return row;
  }));
  if (rows.length === 0) {
    const td = make("td", "empty", emptyText);
    td.colSpan = columns;
    const row = make("tr");
    row.append(td);
    body.append(row);
  }
}

/* ---- charts ---- */

/* Five minutes, or less while the page is young. */
function timeShown() {
  const now = Date.now() / 1000;
  const first = ring.length > 0 ? ring[0].t : now;
  return [Math.max(now - WINDOW_S, Math.min(first, now - 60)), now];
}

const isPowerOfTen = (value) => Math.abs(Math.log10(value) % 1) < 1e-6;
const powersOfTen = (_, ticks) => ticks.map((value) => (isPowerOfTen(value) ? value : null));

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/* `lines` gives [{key, label, color?}] for now; the chart is made anew when that changes. */
class Chart {
  constructor(id, lines, { format = count, log = false, fill = false, least = 1, none = "nothing yet" } = {}) {
    this.lines = lines;
    this.format = format;
    this.options = { log, fill, least, none };
    this.hidden = new Set();
    this.made = "";
    this.plot = null;
    this.legend = make("div", "legend");
    this.box = make("div", "plot");
    byId(id).querySelector("h2").after(this.legend, this.box);
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.box);
  }

  size() {
    return { width: Math.max(this.box.clientWidth, 60), height: this.box.clientHeight };
  }

  axes() {
    const font = `${Math.round(parseFloat(getComputedStyle(document.documentElement).fontSize) * 0.76)}px system-ui, sans-serif`;
    const common = { stroke: color("--dim"), font, ticks: { show: false }, grid: { stroke: color("--grid"), width: 1 } };
    const unit = parseFloat(getComputedStyle(document.documentElement).fontSize);
    return [
      { ...common, incrs: [15, 30, 60, 120], size: unit * 1.7, space: unit * 5,
        values: (_, ticks) => ticks.map((t) => clock(t).slice(0, t % 60 === 0 ? 5 : 8)) },
      { ...common, size: unit * 3.7, space: unit * 2,
        ...(this.options.log ? { filter: powersOfTen, grid: { ...common.grid, filter: powersOfTen } } : {}),
        values: (_, ticks) => ticks.map((v) => (v === null ? "" : this.format(v))) },
    ];
  }

  rebuild(lines) {
    this.plot?.destroy();
    this.shown = lines.map((line, i) => ({ ...line, color: color(line.color ?? PALETTE[i % PALETTE.length]) }));
    const series = this.shown.map((line) => ({
      stroke: line.color, width: 2 / devicePixelRatio * Math.max(1, devicePixelRatio * 0.9),
      fill: this.options.fill ? `${line.color}22` : undefined, spanGaps: this.options.log,
      points: { show: this.options.log ? undefined : false }, show: !this.hidden.has(line.key),
    }));
    const y = this.options.log ? { distr: 3, range: (u, low, high) => (low === null ? [0.001, 1]
      : [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high) + 0.01)]) }
      : { range: (u, low, high) => [0, Math.max((high ?? 0) * 1.12, this.options.least)] };
    this.plot = new uPlot({
      ...this.size(), series: [{}, ...series], axes: this.axes(), legend: { show: false },
      scales: { x: { time: true, range: timeShown }, y },
      cursor: { sync: { key: "time" }, drag: { x: false, y: false }, points: { size: 7 } },
      hooks: { setCursor: [() => this.writeLegend()] },
    }, this.data(), this.box);
    this.makeLegend();
  }

  data() {
    const keep = this.options.log ? (v) => (v > 0 ? v : null) : (v) => v ?? null;
    return [ring.map((s) => s.t), ...this.shown.map((line) => ring.map((s) => keep(s[line.key])))];
  }

  makeLegend() {
    this.legend.replaceChildren(...this.shown.map((line, i) => {
      const button = make("button");
      button.type = "button";
      button.setAttribute("aria-pressed", String(!this.hidden.has(line.key)));
      const swatch = make("i");
      swatch.style.background = line.color;
      button.append(swatch, make("span", "", line.label), make("b"));
      button.addEventListener("click", () => {
        const isShown = this.hidden.has(line.key);
        if (isShown)
          this.hidden.delete(line.key);
        else
          this.hidden.add(line.key);
        button.setAttribute("aria-pressed", String(isShown));
        this.plot.setSeries(i + 1, { show: isShown });
      });
      return button;
    }));
    if (this.shown.length === 0)
      this.legend.append(make("span", "none", this.options.none));
  }

  /* The values under the cursor, or the latest. */
  writeLegend() {
    if (this.plot === null)
      return;
    const index = this.plot.cursor.idx ?? ring.length - 1;
    this.legend.querySelectorAll("b").forEach((element, i) => {
      const value = ring[index]?.[this.shown[i].key];
      setText(element, value === undefined ? "–" : this.format(value));
    });
  }

  update() {
    const lines = this.lines();
    const made = lines.map((line) => line.key).join();
    if (this.plot === null || made !== this.made)
      this.rebuild(lines);
    else
      this.plot.setData(this.data());
    this.made = made;
    this.writeLegend();
  }
}

/* Keys that begin with `prefix` and were more than zero in the window, the busiest first. */
function active(prefix, suffix = "", most = 8) {
  const sums = new Map();
  for (const sample of ring)
    for (const key in sample)
      if (key.startsWith(prefix) && key.endsWith(suffix) && sample[key] > 0)
        sums.set(key, (sums.get(key) ?? 0) + sample[key]);
  const keys = [...sums.keys()];
  if (keys.length > most)
    keys.sort((a, b) => sums.get(b) - sums.get(a)).splice(most);
  keys.sort();
  return keys.map((key) => ({
    key, label: words(key.slice(prefix.length, key.length - suffix.length)),
  }));
}

const fixed = (...list) => () => list.map(([key, label, paint]) => ({ key, label, color: paint }));

const charts = [
  new Chart("requests", () => active("class.", "/s").map((line) => ({
    ...line, label: line.label === "none" ? "no answer" : line.label,
    color: CLASSES[line.label] ?? "--c8" })), { fill: true, none: "no request in the last five minutes" }),
  new Chart("refused", () => active("refused.", "/s"), { fill: true, none: "none refused in the last five minutes" }),
  new Chart("latency", () => active("mean."), { format: duration, log: true, none: "no request in the last five minutes" }),
  new Chart("hops", () => active("hop_mean."), { format: duration, fill: true, least: 0.001, none: "no request in the last five minutes" }),
  new Chart("inflight", () => active("inflight."), { fill: true, none: "nothing in flight in the last five minutes" }),
  new Chart("queues", () => [...active("queue."), ...active("room.").map((line) => ({ ...line, label: `${line.label} (room)` }))],
    { fill: true, none: "nobody had to wait in the last five minutes" }),
  new Chart("orders", fixed(["placed/s", "placed", "--c1"], ["orders.completed/s", "completed", "--ok"],
    ["claims/s", "cards claimed", "--c4"]), { fill: true }),
  new Chart("tokens", fixed(["tokens.out/s", "generated", "--c1"], ["tokens.in/s", "prompt", "--c3"]), { fill: true }),
  new Chart("kv", fixed(["kv.used", "blocks", "--c4"]), { fill: true }),
  new Chart("cache", () => active("cache.", "/s"), { fill: true, none: "no lookup in the last five minutes" }),
  new Chart("connections", fixed(["open", "open", "--c1"], ["accepted/s", "new per second", "--c2"]), { fill: true }),
  new Chart("process", fixed(["cpu.user/s", "user", "--c1"], ["cpu.system/s", "system", "--c3"]), { format: (v) => v.toFixed(2), fill: true, least: 0.1 }),
];

/* ---- tiles ---- */

const TILES = [
  ["Requests/s", (s) => [count(recent("requests/s")), `${count(number(s, "gateway.requests.total"))} in all`]],
  ["Refused/s", (s) => {
    const rate = recentSum("refused.");
    const all = entries(at(s, "gateway.requests.refused")).reduce((sum, [, n]) => sum + n, 0);
    return [count(rate), `${count(all)} in all`, rate > 0 ? "warn" : ""];
  }],
  ["Errors (5xx)/s", (s) => {
    const rate = recent("class.5xx/s");
    return [count(rate), `${count(number(s, "gateway.requests.by_class.5xx"))} in all`, rate > 0 ? "bad" : ""];
  }],
  ["In progress", (s) => [whole(number(s, "gateway.requests.active")), `${whole(number(s, "gateway.connections.open"))} connections`]],
  ["Waiting", (s) => {
    const queued = entries(at(s, "policies.backends")).reduce((sum, [, g]) => sum + (number(g, "queue.waiting") ?? 0), 0);
    const rooms = entries(at(s, "policies.waiting_rooms")).reduce((sum, [, r]) => sum + (number(r, "waiting") ?? 0), 0);
    return [count(queued + rooms), `queues ${count(queued)}, rooms ${count(rooms)}`];
  }],
  ["Cache hits", (s) => {
    const served = (recent("cache.hit/s") ?? 0) + (recent("cache.coalesced/s") ?? 0) + (recent("cache.stale/s") ?? 0);
    const ratio = served / (served + (recent("cache.miss/s") ?? 0));
    return [percent(ratio), `${percent(hitRatio(s))} since start`];
  }],
  ["Orders", (s) => [count(number(s, "orders.orders_placed")), `${count(recent("placed/s"))} per second`]],
  ["Stock left", (s) => {
    const stock = entries(at(s, "orders.stock"));
    const left = stock.reduce((sum, [, n]) => sum + n, 0);
    return stock.length === 0 ? ["–", ""] : [count(left), stock.length === 1 ? stock[0][0] : `${stock.length} articles`, left === 0 ? "bad" : ""];
  }],
  ["Tokens/s", (s) => [count(recent("tokens.out/s")), `${whole(number(s, "inference.requests.running"))} running`]],
  ["TTFT p50", (s) => {
    const of = (q) => { const ms = number(s, `inference.ttft_ms.${q}`); return number(s, "inference.ttft_ms.count") > 0 ? duration(ms / 1e3) : "–"; };
    return [of("p50"), `p99 ${of("p99")}`];
  }],
  ["KV cache used", (s) => {
    const total = number(s, "inference.kv.blocks_total"), used = number(s, "inference.kv.blocks_used");
    return [percent(used / total), `${whole(used)} of ${whole(total)} blocks`, used / total > 0.95 ? "bad" : ""];
  }],
  ["CPU", (s) => [percent((recent("cpu.user/s") ?? NaN) + (recent("cpu.system/s") ?? 0)), `loop lag ${duration(number(s, "process.loop_lag_s"))}`]],
];

function hitRatio(stats) {
  const results = at(stats, "cache.results") ?? {};
  const served = (results.hit ?? 0) + (results.coalesced ?? 0) + (results.stale ?? 0);
  return served / (served + (results.miss ?? 0));
}

function makeTiles() {
  byId("tiles").replaceChildren(...TILES.map(([name]) => {
    const tile = make("div", "tile");
    tile.append(make("h3", "", name), make("p", "value", "–"), make("p", "sub", ""));
    return tile;
  }));
}

function drawTiles(stats) {
  TILES.forEach(([, read], i) => {
    const [value, sub, tone = ""] = read(stats);
    const [, big, small] = byId("tiles").children[i].children;
    setText(big, value);
    setText(small, sub);
    big.className = `value ${tone}`;
  });
}

/* ---- tables and lists ---- */

const BREAKERS = { closed: "good", half_open: "warn", open: "bad" };

const QUEUE_REFUSALS = ["full_total", "full_bytes_total", "full_tokens_total", "expired_total", "shed_total",
  "displaced_total", "cannot_meet_total"];
const PRIORITY_ALL = 511; // the level that keeps nobody out

/* What limit, queue and level are doing at this moment, in a few words. */
function gateNow(gate) {
  const does = [];
  const level = number(gate, "priority.level") ?? PRIORITY_ALL, waiting = number(gate, "queue.waiting") ?? 0;
  if (level < PRIORITY_ALL)
    does.push(`refuses below ${at(gate, "priority.class")} (${level})`);
  if (waiting > 0)
    does.push("makes wait");
  for (const part of ["concurrency", "queue", "breaker"])
    if (at(gate, `${part}.shadow`))
      does.push(`${part} in shadow`);
  return does.length > 0 ? does.join(", ") : ["lets in", "quiet"];
}

function gateRow(name, gate) {
  const limit = number(gate, "concurrency.limit"), inFlight = number(gate, "concurrency.in_flight");
  const queue = gate.queue ?? {};
  const refused = QUEUE_REFUSALS.reduce((sum, key) => sum + (queue[key] ?? 0),
    (number(gate, "breaker.refused_total") ?? 0) + (number(gate, "priority.refused_total") ?? 0));
  const state = at(gate, "breaker.state") ?? "–";
  return [name, meter(inFlight / limit, `${whole(inFlight)} / ${count(limit)}`), whole(queue.waiting),
    queue.waiting > 0 && typeof queue.expected_wait_s === "number" ? duration(queue.expected_wait_s) : "–",
    [count(refused), refused > 0 ? "" : "quiet"], make("span", `chip ${BREAKERS[state] ?? ""}`, words(state)), gateNow(gate)];
}

function drawBackends(stats) {
  const rows = entries(at(stats, "policies.backends")).map(([name, gate]) => gateRow(name, gate));
  for (const [name, gate] of entries(at(stats, "policies.routes")))
    rows.push(gateRow(`route ${name}`, gate));
  fillTable("backends", rows, [2, 3, 4], "no backend is configured");
}

/* Rate limits and waiting rooms: whom they let pass and keep out, and what they do now. */
function drawLimits(stats) {
  const rows = entries(at(stats, "policies.rate_limits")).map(([name, limit]) => {
    const rate = recent(`limit_refused.${name}/s`);
    const now = limit.shadow ? "in shadow" : rate > 0 ? `refuses ${count(rate)}/s` : ["lets pass", "quiet"];
    return [`limit ${name}`, count(limit.allowed), [count(limit.refused), limit.refused > 0 ? "hot" : "quiet"],
      `${whole(limit.keys)} keys`, now];
  });
  for (const [name, room] of entries(at(stats, "policies.waiting_rooms"))) {
    const isOpen = !(room.waiting > 0);
    const now = room.shadow ? "in shadow" : isOpen ? ["lets pass", "quiet"] : `lets in ${count(room.admitted_per_s)}/s`;
    rows.push([`room ${name}`, count((room.direct ?? 0) + (room.admitted ?? 0)),
      [count(room.full), room.full > 0 ? "hot" : "quiet"], `${whole(room.waiting)} in line`, now]);
  }
  fillTable("limits", rows, [1, 2, 3], "no limit and no waiting room is configured");
}

function drawRoutes(stats) {
  const rows = entries(stats.routes).map(([name, route]) => {
    const rate = recent(`route.${name}/s`), refused = recent(`route_refused.${name}/s`);
    const failed = number(route, "by_class.5xx") ?? 0;
    const has = number(route, "latency_s.count") > 0;
    return { sort: number(route, "requests") ?? 0, cells: [name, [count(rate), rate > 0 ? "" : "quiet"],
      [count(refused), refused > 0 ? "hot" : "quiet"], [count(failed), failed > 0 ? "hot" : "quiet"],
      has ? duration(number(route, "latency_s.p50")) : "–", has ? duration(number(route, "latency_s.p99")) : "–",
      count(number(route, "requests"))] };
  });
  const used = rows.filter((row) => row.sort > 0).sort((a, b) => b.sort - a.sort);
  fillTable("routes", used.map((row) => row.cells), [1, 2, 3, 4, 5, 6], "no request yet");
}

function drawOrders(stats) {
  const list = entries(at(stats, "orders.orders")).map(([state, n]) => [state, whole(n)]);
  for (const [sku, left] of entries(at(stats, "orders.stock")))
    list.push([`${sku} left`, whole(left)]);
  const redis = number(stats, "orders.redis.latency_seconds.p99");
  list.push(["invites accepted", whole(number(stats, "orders.invites_accepted"))],
    ["Redis p99", number(stats, "orders.redis.latency_seconds.count") > 0 ? duration(redis) : "–"]);
  byId("orders").querySelector(".extra").replaceChildren(stats.orders ? facts(list) : make("span", "empty", "the order path is off"));
}

function drawInference(stats) {
  const s = stats.inference;
  const extra = byId("tokens").querySelector(".extra"), kvExtra = byId("kv").querySelector(".extra");
  if (!s) {
    extra.replaceChildren(make("span", "empty", "inference is off"));
    kvExtra.replaceChildren();
    return;
  }
  const ms = (name, q) => (number(s, `${name}.count`) > 0 ? duration(number(s, `${name}.${q}`) / 1e3) : "–");
  const refused = entries(at(s, "requests.refused")).reduce((sum, [, n]) => sum + n, 0);
  extra.replaceChildren(facts([["TTFT p50", ms("ttft_ms", "p50")], ["TTFT p99", ms("ttft_ms", "p99")],
    ["per token p50", ms("tpot_ms", "p50")], ["per token p99", ms("tpot_ms", "p99")],
    ["completed", whole(number(s, "requests.completed"))], ["refused", whole(refused)]]));
  const used = number(s, "kv.blocks_used"), total = number(s, "kv.blocks_total");
  kvExtra.replaceChildren(meter(used / total, percent(used / total)),
    facts([["in use", whole(used)], ["cached", whole(number(s, "kv.blocks_cached"))], ["free", whole(number(s, "kv.blocks_free"))], ["total", whole(total)],
      ["sequences", `${whole(number(s, "kv.sequences"))} / ${count(number(s, "kv.sequences_max"))}`],
      ["model", s.model ?? "–"]]));
}

const isDown = (worker) => !(worker.pid > 0) || worker.connections === 0;
const isHung = (worker) => worker.heartbeat_age_seconds > 10 && worker.running > 0;
const restarts = (worker) => Math.max(0, (worker.starts ?? 1) - 1);

function drawWorkers(stats) {
  const rows = (at(stats, "inference.workers") ?? []).map((worker) => {
    const [tone, text] = isDown(worker) ? ["bad", "down"] : isHung(worker) ? ["warn", "silent"] : ["good", "running"];
    return [String(worker.worker ?? "?"), make("span", `chip ${tone}`, text), worker.pid > 0 ? String(worker.pid) : "–", whole(worker.running),
      whole(worker.waiting), [whole(restarts(worker)), restarts(worker) > 0 ? "hot" : "quiet"],
      whole(worker.preemptions), count(worker.tokens_decode)];
  });
  fillTable("workers", rows, [2, 3, 4, 5, 6, 7], "no inference worker is configured");
}

function drawCache(stats) {
  const c = stats.cache ?? {};
  byId("cache").querySelector(".extra").replaceChildren(
    meter(c.bytes / c.bytes_max, bytes(c.bytes)),
    facts([["hit ratio", percent(hitRatio(stats))], ["objects", whole(c.objects)], ["memory of", bytes(c.bytes_max)],
      ["evicted", whole(c.evicted)]]));
}

function drawPressure(stats) {
  const share = (value) => `${(100 * value).toFixed(1)} %`;
  const units = { memory: bytes, cgroup_memory: bytes, request_memory: bytes, loop_lag: duration, redis_latency: duration,
    cpu_stall: share, memory_stall: share, io_stall: share };
  const watched = entries(at(stats, "policies.overload.resources")).filter(([, resource]) => resource.watched);
  fillTable("pressure", watched.map(([name, resource]) => {
    const written = units[name] ?? whole;
    return [words(name), meter(resource.pressure, written(resource.used)), written(resource.limit),
      [count(resource.refused_total), resource.refused_total > 0 ? "hot" : "quiet"],
      resource.steps.length > 0 ? resource.steps.map(words).join(", ") : ["none", "quiet"]];
  }), [2, 3], "nothing is watched");
}

function drawProcess(stats) {
  const p = stats.process ?? {}, o = at(stats, "policies.overload") ?? {}, c = at(stats, "gateway.connections") ?? {};
  byId("process").querySelector(".extra").replaceChildren(
    meter(at(o, "resources.memory.pressure"), bytes(at(o, "resources.memory.used"))),
    facts([["memory limit", bytes(at(o, "resources.memory.limit"))], ["loop lag", duration(p.loop_lag_s)],
      ["files open", `${whole(at(o, "resources.fds.used"))} / ${count(at(o, "resources.fds.limit"))}`],
      ["pid", String(p.pid ?? "–")]]));
  byId("connections").querySelector(".extra").replaceChildren(facts([["HTTP/2", whole(c.h2_connections)],
    ["TLS resumed", whole(c.handshakes_resumed)], ["TLS failed", whole(c.handshakes_failed)],
    ["refused", whole((c.refused_limit ?? 0) + (c.refused_overload ?? 0) + (c.refused_share ?? 0) + (c.flooders_refused ?? 0))], ["timeouts", whole(c.timeouts)],
    ["malformed", whole(c.protocol_errors)]]));
  setText(byId("uptime"), `up ${duration(p.uptime_s)}`);
  setText(byId("version"), at(stats, "gateway.version") ?? "");
  const level = o.level ?? "unknown";
  setText(byId("overload"), `load ${level}`);
  byId("overload").className = `pill ${{ normal: "good", elevated: "warn", high: "bad", critical: "bad" }[level] ?? ""}`;
}

/* ---- what somebody should look at ---- */

function problemsOf(stats) {
  const list = [];
  for (const [name, gate] of entries(at(stats, "policies.backends"))) {
    const state = at(gate, "breaker.state");
    if (state === "open")
      list.push(["bad", `Backend ${name} is down.`, "Its circuit breaker is open: requests to it are refused at once."]);
    else if (state === "half_open")
      list.push(["warn", `Backend ${name} is being tried again.`, "Its circuit breaker lets single requests through."]);
  }
  for (const [name, backend] of entries(stats.backends))
    for (const endpoint of backend.endpoints ?? [])
      if (endpoint.is_failing)
        list.push(["bad", `${endpoint.address} of ${name} cannot be connected to.`, "Requests go to the other endpoints, if there are any."]);
  if (number(stats, "orders.redis.connected_threads") === 0)
    list.push(["bad", "Redis is not connected.", "Orders are refused until it is back."]);
  for (const worker of at(stats, "inference.workers") ?? [])
    if (isDown(worker))
      list.push(["bad", `Inference worker ${worker.worker} is down.`, `Restarts so far: ${restarts(worker)}.`]);
    else if (isHung(worker))
      list.push(["warn", `Inference worker ${worker.worker} is silent.`, `Last sign ${duration(worker.heartbeat_age_seconds)} ago.`]);
  const level = at(stats, "policies.overload.level");
  const taken = entries(at(stats, "policies.overload.steps")).filter(([, step]) => step.taken);
  if (taken.length > 0)
    list.push([level === "elevated" ? "warn" : "bad", `The gateway is under pressure (${level}).`,
      `${taken.map(([name, step]) => `${words(name)} (${step.by.map(words).join(", ")})`).join("; ")}.`]);
  return list;
}

let shownAlerts = "";
let readiness = "";

function drawAlerts() {
  const silentMs = Date.now() - answeredAt;
  const isStale = silentMs > STALE_AFTER_MS;
  document.body.classList.toggle("stale", isStale);
  const list = isStale
    ? [["bad", "The gateway does not answer.", last === null ? "No answer yet."
      : `The numbers below are from ${clock(answeredAt / 1000)}.`]]
    : last === null ? [] : problemsOf(last.stats);
  if (!isStale && readiness !== "" && list.every(([tone]) => tone !== "bad"))
    list.push(["warn", "Not ready.", readiness]);
  const ready = byId("ready");
  setText(ready, isStale ? "no answer" : last === null ? "connecting" : readiness === "" ? "ready"
    : readiness === "draining" ? "draining" : "not ready");
  ready.className = `pill ${isStale ? "bad" : last === null ? "" : readiness === "" ? "good" : "warn"}`;
  const key = JSON.stringify(list);
  if (key === shownAlerts) /* said once, or a screen reader says it every second */
    return;
  shownAlerts = key;
  byId("alerts").replaceChildren(...list.map(([tone, text, detail]) => {
    const alert = make("p", `alert ${tone}`, `${text} `);
    alert.append(make("small", "", detail));
    return alert;
  }));
}

/* ---- the loop ---- */

async function get(path) {
  return fetch(path, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS_MAX) });
}

async function ask() {
  let sample = {};
  try {
    const [stats, ready] = await Promise.all([get("/stats"), get("/readyz")]);
    if (!stats.ok)
      throw new Error(`status ${stats.status}`);
    sample = sampleOf(await stats.json());
    readiness = ready.ok ? "" : (await ready.text()).trim();
    answeredAt = Date.now();
  } catch {
    /* a gap; drawAlerts tells when it lasts */
  }
  ring.push({ ...sample, t: Date.now() / 1000 });
  while (ring[0].t < Date.now() / 1000 - WINDOW_S - 2)
    ring.shift();
}

function draw() {
  drawAlerts();
  if (last === null)
    return;
  const { stats } = last;
  for (const part of [drawTiles, drawBackends, drawLimits, drawRoutes, drawOrders, drawInference, drawWorkers, drawCache, drawPressure, drawProcess])
    part(stats);
  charts.forEach((chart) => chart.update());
}

async function run() {
  for (;;) {
    const started = performance.now();
    await ask();
    draw();
    await new Promise((done) => setTimeout(done, Math.max(100, 1000 - (performance.now() - started))));
  }
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  charts.forEach((chart) => { chart.made = null; });
  draw();
});
setInterval(drawAlerts, 500);
makeTiles();
run();
