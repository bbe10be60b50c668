// openai.test.mjs: the official openai client against the real binary. Prints "ok NAME" or
// "not ok NAME: why"; test_openai.py makes a test of each.
import { createRequire } from "node:module";
import path from "node:path";

const { FG_NODE_MODULES, FG_URL } = process.env;
const require = createRequire(path.join(path.resolve(FG_NODE_MODULES), "..", "x.js"));
const OpenAI = require("openai");

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the certificate is the test's own
const client = new OpenAI({ apiKey: "none", baseURL: `${FG_URL}/v1`, maxRetries: 0 });
const MESSAGES = [{ role: "user", content: "What is on offer?" }];
const TOOL = { type: "function", function: { name: "place_order", parameters: { type: "object",
  properties: { sku: { enum: ["milk-tea"] } }, required: ["sku"], additionalProperties: false } } };

function check(condition, what) {
  if (!condition) throw new Error(what);
}

const tests = [];
const test = (name, run) => tests.push([name, run]);

test("lists models", async () => {
  const models = await client.models.list();
  check(models.data[0].object === "model", JSON.stringify(models.data));
});

test("answers a chat", async () => {
  const answer = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 16 });
  check(answer.object === "chat.completion" && answer.choices[0].message.role === "assistant", JSON.stringify(answer));
  check(answer.usage.total_tokens === answer.usage.prompt_tokens + answer.usage.completion_tokens, "usage");
});

test("streams a chat with usage", async () => {
  const whole = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 16, temperature: 0 });
  const stream = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 16, temperature: 0,
    stream: true, stream_options: { include_usage: true } });
  let text = "", usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  check(text === whole.choices[0].message.content, `${text} is not ${whole.choices[0].message.content}`);
  check(usage?.completion_tokens === whole.usage.completion_tokens, JSON.stringify(usage));
});

test("answers a completion", async () => {
  const answer = await client.completions.create({ model: "demo", prompt: "The free card", max_tokens: 4 });
  check(typeof answer.choices[0].text === "string", JSON.stringify(answer));
});

test("keeps to a schema", async () => {
  const answer = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 200, temperature: 0,
    response_format: { type: "json_schema", json_schema: { name: "o", strict: true, schema: { type: "object",
      properties: { drink: { enum: ["tea"] } }, required: ["drink"], additionalProperties: false } } } });
  if (answer.choices[0].finish_reason === "stop")
    check(JSON.parse(answer.choices[0].message.content).drink === "tea", answer.choices[0].message.content);
});

test("calls a tool", async () => {
  const answer = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 300, temperature: 0,
    tools: [TOOL], tool_choice: "required" });
  if (answer.choices[0].finish_reason !== "length") {
    const call = answer.choices[0].message.tool_calls[0];
    check(call.function.name === "place_order" && JSON.parse(call.function.arguments).sku === "milk-tea",
      JSON.stringify(call));
  }
});

test("gives logprobs", async () => {
  const answer = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 3, logprobs: true,
    top_logprobs: 2 });
  check(answer.choices[0].logprobs.content.every((one) => one.top_logprobs.length === 2), "top_logprobs");
});

test("embeds texts", async () => {
  const answer = await client.embeddings.create({ model: "demo", input: ["milk tea", "lemon tea"] });
  const length = answer.data[1].embedding.reduce((sum, x) => sum + x * x, 0);
  check(answer.data.length === 2 && Math.abs(length - 1) < 1e-3, JSON.stringify(answer.usage));
});

test("reports an error in the API's own form", async () => {
  try {
    await client.chat.completions.create({ model: "other", messages: MESSAGES });
  } catch (error) {
    check(error instanceof OpenAI.NotFoundError && error.code === "model_not_found", String(error));
    return;
  }
  throw new Error("no error");
});

test("can be stopped in the middle", async () => {
  const stream = await client.chat.completions.create({ model: "demo", messages: MESSAGES, max_tokens: 500, stream: true,
    temperature: 1, seed: 1 });
  for await (const chunk of stream) {
    if (chunk.choices[0]) break;
  }
  stream.controller.abort();
});

for (const [name, run] of tests) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    console.log(`not ok ${name}: ${String(error.stack ?? error).replaceAll("\n", " | ")}`);
  }
}
process.exit(0);
