// llama.cpp, in the binaries that node-llama-cpp ships, answering the commands of
// tests/bench/bench_engine.c, so that one script drives both.
// Usage: node llama_peer.mjs NODE_MODULES MODEL.gguf THREADS
import {createRequire} from "node:module";
import {createInterface} from "node:readline";
import {pathToFileURL} from "node:url";

const [node_modules, model_path, thread_text] = process.argv.slice(2);
const threads = Number(thread_text);
const entry = createRequire(`${node_modules}/`).resolve("node-llama-cpp");
const {getLlama} = await import(pathToFileURL(entry));

const PROMPT_TOKENS = 64;
const STREAMS_MAX = 16;
const llama = await getLlama({gpu: false, build: "never", progressLogs: false, maxThreads: threads, logLevel: "error"});
const model = await llama.loadModel({modelPath: model_path, gpuLayers: 0});
const vocab_count = model.fileInfo.metadata.tokenizer.ggml.tokens.length;

function prompt_of(stream, count) {
    return Array.from({length: count}, (_, i) =>
        Number((BigInt(i + 1) * 2654435761n + BigInt(stream) * 40503n) % 4294967296n % BigInt(vocab_count)));
}

function clocks() {
    const cpu = process.cpuUsage();
    return {wall: performance.now() / 1e3, cpu: (cpu.user + cpu.system) / 1e6};
}

function report(start, tokens) {
    const end = clocks();
    console.log(JSON.stringify({tokens, wall_s: end.wall - start.wall, cpu_s: end.cpu - start.cpu}));
}

async function make_sequences(count, tokens) {
    const context = await model.createContext({
        sequences: count, contextSize: tokens, batchSize: 512, threads, batching: {dispatchSchedule: "nextCycle"}});
    return Array.from({length: count}, () => context.getSequence());
}

async function bench_prompt([sequence], count, repeats) {
    const start = clocks();
    for (let i = 0; i < repeats; i++) {
        await sequence.clearHistory();
        await sequence.evaluate(prompt_of(0, count), {temperature: 0}).next();
    }
    report(start, count * repeats);
}

// Every stream's prompt first; then all generate in step, so that each batch holds one token of each.
async function bench_decode(all_sequences, streams, steps) {
    const sequences = all_sequences.slice(0, streams);
    await Promise.all(sequences.map((sequence) => sequence.clearHistory()));
    const generators = sequences.map((sequence, s) =>
        sequence.evaluate(prompt_of(s, PROMPT_TOKENS), {temperature: 0, yieldEogToken: true}));
    for (const generator of generators)
        await generator.next();
    const start = clocks();
    for (let step = 0; step < steps; step++) {
        const made = await Promise.all(generators.map((generator) => generator.next()));
        if (made.some(({done}) => done))
            throw new Error("a stream ended early");
    }
    report(start, streams * steps);
    await Promise.all(generators.map((generator) => generator.return()));
}

const prompts = await make_sequences(1, 2048);
const decodes = await make_sequences(STREAMS_MAX, 256);
console.log(JSON.stringify({kernels: llama.systemInfo}));
for await (const line of createInterface({input: process.stdin})) {
    const [what, a, b] = line.split(" ");
    if (what === "prompt")
        await bench_prompt(prompts, Number(a), Number(b));
    else
        await bench_decode(decodes, Number(a), Number(b));
}
process.exit(0);
