/*
 * promo_line.mjs: the promotion page's api.js in Node: how it stands in a line that it can watch.
 *   promo_line.mjs URL API_MODULE      prints what was asked and what the page was told, as JSON
 */
const [base, module] = process.argv.slice(2);
const calls = [];
const send = globalThis.fetch;
globalThis.fetch = (path, options = {}) => {
  calls.push({ path, method: options.method ?? "GET", accept: options.headers?.accept, ticket: options.headers?.["x-floodgate-ticket"] });
  return send(base + path, options);
};

/* Somebody else, until there is a line: a guest who asks anew each time, and then stands there. */
const device = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ device_id: "somebody-else" }) };
const { token } = await (await send(`${base}/api/session`, device)).json();
const claim = () => send(`${base}/api/coupons/claim`, { method: "POST", headers: { authorization: `Bearer ${token}` } });
while ((await claim()).status !== 429);

const { request } = await import(module);
const places = [];
const answer = await request("/api/coupons/claim", { method: "POST", body: {}, safe: true, onWait: (place) => places.push(place) });
console.log(JSON.stringify({ status: answer.status, calls, places }));
