// client.mjs: what an app on Node.js does: fetch for HTTP/1.1, node:http2 for HTTP/2.
// Usage   NODE_EXTRA_CA_CERTS=CERTIFICATE node client.mjs PORT HTTP_1_1|HTTP_2
// Output  "ok NAME" a step; the first that fails ends the program with a stack trace.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import http2 from 'node:http2';
import { gunzipSync } from 'node:zlib';

const LARGE = 10 << 20;
const [port, version] = process.argv.slice(2);
const base = `https://localhost:${port}`;
const digest = (data) => createHash('sha256').update(data).digest('hex');
const session = version === 'HTTP_2' ? http2.connect(base) : null;

// {status, headers, body: async iterable of bytes}
async function byFetch(path, { method = 'GET', headers = {}, body } = {}) {
    const answer = await fetch(base + path, { method, headers, body, duplex: 'half' });
    return { status: answer.status, headers: Object.fromEntries(answer.headers), body: answer.body ?? [] };
}

function byHttp2(path, { method = 'GET', headers = {}, body } = {}) {
    return new Promise((resolve, reject) => {
        const stream = session.request({ ':path': path, ':method': method, ...headers });
        stream.on('error', reject);
        stream.on('response', (fields) => resolve({ status: fields[':status'], headers: fields, body: stream }));
        stream.end(body);
    });
}

async function send(path, options) {
    const answer = await (session ? byHttp2 : byFetch)(path, options);
    assert.equal(answer.status, 200);
    return answer;
}

async function bytesOf(answer) {
    const pieces = [];
    for await (const piece of answer.body) pieces.push(piece);
    return Buffer.concat(pieces);
}

const steps = {
    async get() {
        assert.match((await bytesOf(await send('/text'))).toString(), /^the same words/);
    },
    async head() {
        const answer = await send('/large', { method: 'HEAD' });
        assert.equal((await bytesOf(answer)).length, 0);
        assert.equal(Number(answer.headers['content-length']), LARGE);
    },
    async down() {
        const answer = await send('/large');
        const data = await bytesOf(answer);
        assert.equal(data.length, LARGE);
        assert.equal(digest(data), answer.headers['x-sha256']);
    },
    async up() {
        const data = randomBytes(LARGE);
        assert.equal((await bytesOf(await send('/digest', { method: 'POST', body: data }))).toString(), digest(data));
        if (session) return;
        const stream = new ReadableStream({ // of unknown length: chunked
            start(controller) {
                for (let at = 0; at < data.length; at += 65536) controller.enqueue(data.subarray(at, at + 65536));
                controller.close();
            },
        });
        assert.equal((await bytesOf(await send('/digest', { method: 'POST', body: stream }))).toString(), digest(data));
    },
    async events() {
        const answer = await send('/events');
        assert.equal(answer.headers['content-type'], 'text/event-stream');
        const seen = [];
        let text = '';
        for await (const piece of answer.body) {
            text += Buffer.from(piece).toString();
            for (let end; (end = text.indexOf('\n\n')) >= 0; text = text.slice(end + 2)) {
                seen.push(text.slice(6, end));
                await bytesOf(await send('/seen', { method: 'POST', body: seen.at(-1) }));
            }
        }
        assert.deepEqual(seen, ['0', '1', '2', '3', '4']);
    },
    async gzip() {
        for (let i = 0; i < 600; i++) {
            const answer = await send('/text', { headers: { 'accept-encoding': 'gzip' } });
            const data = await bytesOf(answer);
            if (answer.headers['content-encoding'] !== 'gzip') {
                await new Promise((resolve) => setTimeout(resolve, 50)); // made by a helper once somebody has asked
                continue;
            }
            const plain = session ? gunzipSync(data) : data; // fetch has unpacked it
            assert.match(plain.toString(), /^the same words/);
            return;
        }
        assert.fail('never compressed');
    },
    async many() {
        const names = Array.from({ length: 80 }, (_, i) => `n${i}`);
        const answers = await Promise.all(names.map((name) => send('/digest', { method: 'POST', body: name }).then(bytesOf)));
        answers.forEach((answer, i) => assert.equal(answer.toString(), digest(names[i])));
    },
};

for (const [name, step] of Object.entries(steps)) {
    await step();
    console.log(`ok ${name}`);
}
session?.close();
