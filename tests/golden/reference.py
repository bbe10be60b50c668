#!/usr/bin/python3
"""
reference.py: what a correct engine answers on a GGUF model, computed plainly in float64.
Job      read the file, run the forward pass over the dequantized weights, and write or check
         MODEL.golden.json. It shares no code with the engine, so that it can disagree with it.
Reads    GGUF v2 and v3; llama, qwen2 and qwen3; every tensor type that the engine runs.
Needs    python3-numpy, python3-regex.
Example  reference.py check tests/golden/models/*.gguf conf/models/demo.gguf
         reference.py ask conf/models/demo.gguf "what is on offer?"
Golden   per prompt: ids; 32 greedy tokens and the margin of each (best logit less second best);
         at some positions of ids + greedy (0 is after the first id) the ten largest logits as
         [id, logit] in `top` and the float64 values of the same ids in `exact`. The two differ
         where weights come in blocks: there `top` is computed with what enters a matrix product
         rounded to Q8_0 blocks, as an integer kernel does. A greedy step whose margin is below
         flip_margin may go either way.
         MODEL.embeddings.json: per prompt, its final states (after the last norm) as one vector of
         length 1: their mean over all tokens, and that of the last token.
"""

import argparse
import hashlib
import json
import os
import struct
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(REPOSITORY, "scripts", "demo_model"))
from tokenizer import Tokenizer  # noqa: E402

GREEDY_COUNT = 32
TOP_COUNT = 10
FLIP_MARGIN = {"F32": 0.002, "F16": 0.1, "Q8_0": 0.5, "Q4_K": 0.5}
FILE_TYPE_NAMES = {0: "F32", 1: "F16", 7: "Q8_0", 15: "Q4_K"}
SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
SCALARS.update({10: "<Q", 11: "<q", 12: "<d"})
STRING, ARRAY = 8, 9

CHAT = {
    "chatml": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\nWhere is my order?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama3": "<|start_header_id|>system<|end_header_id|>\n\nYou are a helpful assistant.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nWhere is my order?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
}
TINY_PROMPTS = {
    "one-token": "A",
    "english": "The gateway takes a request, finds its route and asks",
    "chinese": "你好，奶茶。请问我的订单到哪了？",
    "mixed": "  int x = 12345; // it's 3.14, naïve café\n\n\tπ≈3 😀\r\n",
    "blocks": "One two three four five six seven eight nine ten eleven twelve. " * 4,
}
DEMO_QUESTIONS = {
    "offer": "what is on offer?",
    "get-card": "how do I get a free card?",
    "order-zh": "我的订单到哪了",
    "story": "Tell me a story",
    "unforeseen": "who painted the Mona Lisa, and why?",
}


class GgufReader:
    """Metadata and tensors of a file that is trusted to be well formed."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 0
        magic, version, tensor_count, key_count = self._take("<4sIQQ", whole=True)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError(f"{path}: not a GGUF v2 or v3 file")
        self.meta = {}
        for _ in range(key_count):
            key = self._string()
            self.meta[key] = self._value(self._take("<I"))
        entries = []
        for _ in range(tensor_count):
            name = self._string()
            dims = [self._take("<Q") for _ in range(self._take("<I"))]
            entries.append((name, dims[::-1], self._take("<I"), self._take("<Q")))
        align = self.meta.get("general.alignment", 32)
        base = -(-self.at // align) * align
        self.tensor_types = {name: kind for name, _, kind, _ in entries}
        self.tensors = {
            name: self._tensor(shape, kind, base + at) for name, shape, kind, at in entries
        }

    def _take(self, form, whole=False):
        values = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return values if whole else values[0]

    def _string(self):
        size = self._take("<Q")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8")

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            item_kind, count = self._take("<I"), self._take("<Q")
            return [self._value(item_kind) for _ in range(count)]
        return self._take(SCALARS[kind])

    def _tensor(self, shape, kind, start):
        if kind not in READERS:
            raise ValueError(f"tensor type {kind} is not one of {sorted(READERS)}")
        columns, size, read = READERS[kind]
        count = int(np.prod(shape)) // columns
        raw = np.frombuffer(self.data, np.uint8, count * size, start).reshape(count, size)
        return read(raw).astype(np.float64).reshape(shape)


# ---- tensor types: the bytes of each block (count, size) to its weights (count, columns) ----


def halves(raw, at, count=1):
    """`count` f16 from byte `at` of each block."""
    return np.ascontiguousarray(raw[:, at : at + 2 * count]).view("<f2").astype(np.float64)


def nibbles(raw, at):
    """32 numbers: the low halves of 16 bytes, then the high ones."""
    packed = raw[:, at : at + 16]
    return np.concatenate((packed & 15, packed >> 4), axis=1).astype(np.int32)


def five_bits(raw, at):
    """nibbles() behind 32 bits, each of which is 16 more."""
    high = np.unpackbits(raw[:, at : at + 4], axis=1, bitorder="little").astype(np.int32)
    return nibbles(raw, at + 4) + 16 * high


def k_scales(raw):
    """Scales and minima of the eight parts of a Q4_K or Q5_K block, (count, 8, 1) each."""
    packed = raw[:, 4:16].astype(np.int32)
    low, high = packed[:, 8:12] & 15, packed[:, 8:12] >> 4
    scales = np.concatenate((packed[:, 0:4] & 63, low | packed[:, 0:4] >> 6 << 4), axis=1)
    minima = np.concatenate((packed[:, 4:8] & 63, high | packed[:, 4:8] >> 6 << 4), axis=1)
    return (halves(raw, 0) * scales)[:, :, None], (halves(raw, 2) * minima)[:, :, None]


def k_nibbles(raw, at):
    """(count, 8, 32): parts 2i and 2i + 1 are the low and high halves of 32 bytes."""
    packed = raw[:, at : at + 128].reshape(-1, 4, 1, 32)
    return np.concatenate((packed & 15, packed >> 4), axis=2).reshape(-1, 8, 32).astype(np.int32)


def read_q4_k(raw):
    scales, minima = k_scales(raw)
    return scales * k_nibbles(raw, 16) - minima


def read_q5_k(raw):
    scales, minima = k_scales(raw)
    high = raw[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[None, :, None] & 1
    return scales * (k_nibbles(raw, 48) + 16 * high) - minima


def read_q6_k(raw):
    """Two halves of 128, each four quarters of 32; a scale for every 16 weights."""
    low = raw[:, 0:128].reshape(-1, 2, 2, 32)
    low = np.concatenate((low & 15, low >> 4), axis=2).astype(np.int32)
    shifts = np.array([0, 2, 4, 6], np.uint8)[None, None, :, None]
    high = (raw[:, 128:192].reshape(-1, 2, 1, 32) >> shifts & 3).astype(np.int32)
    scales = halves(raw, 208) * raw[:, 192:208].view(np.int8)
    return scales[:, :, None] * ((low | high << 4) - 32).reshape(-1, 16, 16)


# number in the file: (columns of a block, bytes of a block, reader)
READERS = {
    0: (1, 4, lambda raw: raw.view("<f4")),
    1: (1, 2, lambda raw: raw.view("<f2")),
    30: (1, 2, lambda raw: (raw.view("<u2").astype("<u4") << 16).view("<f4")),
    2: (32, 18, lambda raw: halves(raw, 0) * (nibbles(raw, 2) - 8)),
    3: (32, 20, lambda raw: halves(raw, 0) * nibbles(raw, 4) + halves(raw, 2)),
    6: (32, 22, lambda raw: halves(raw, 0) * (five_bits(raw, 2) - 16)),
    7: (32, 24, lambda raw: halves(raw, 0) * five_bits(raw, 4) + halves(raw, 2)),
    8: (32, 34, lambda raw: halves(raw, 0) * raw[:, 2:].view(np.int8)),
    12: (256, 144, read_q4_k),
    13: (256, 176, read_q5_k),
    14: (256, 210, read_q6_k),
}


def round_to_q8_blocks(x):
    """x as it comes back from blocks of 32 int8 with an f16 scale."""
    blocks = x.astype(np.float32).reshape(-1, 32)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    values = np.rint(blocks / np.where(scale > 0, scale, np.float32(1))).astype(np.float64)
    return (values * scale.astype(np.float16).astype(np.float64)).reshape(x.shape)


class Reference:
    """A sequence that grows: feed() appends tokens to the KV cache and returns their logits."""

    def __init__(self, gguf, round_activations=False):
        self.gguf, self.weights = gguf, gguf.tensors
        self.round_activations = round_activations
        self.arch = gguf.meta["general.architecture"]
        self.block_count = self._meta("block_count")
        self.heads = self._meta("attention.head_count")
        self.kv_heads = self._meta("attention.head_count_kv", self.heads)
        self.size = self._meta("attention.key_length", self._meta("embedding_length") // self.heads)
        self.epsilon = self._meta("attention.layer_norm_rms_epsilon")
        steps = np.arange(0, self.size, 2) / self.size
        self.frequencies = float(self._meta("rope.freq_base", 10000.0)) ** -steps
        if "rope_freqs.weight" in self.weights:
            self.frequencies = self.frequencies / self.weights["rope_freqs.weight"]
        self.reset()

    def _meta(self, name, default=None):
        return self.gguf.meta.get(f"{self.arch}.{name}", default)

    def reset(self):
        empty = np.zeros((0, self.kv_heads, self.size))
        self.keys, self.values = [empty] * self.block_count, [empty] * self.block_count

    def _multiply(self, x, name):
        if self.round_activations and READERS[self.gguf.tensor_types[name]][0] > 1:
            x = round_to_q8_blocks(x)
        return x @ self.weights[name].T

    def _norm(self, x, name):
        scale = np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.epsilon)
        return x / scale * self.weights[name]

    def _rotate(self, x, first):
        angle = ((first + np.arange(len(x)))[:, None] * self.frequencies)[:, None, :]
        turn = np.exp(1j * angle)
        half = self.size // 2
        if self.arch == "llama":  # neighbours 2i and 2i+1 are one complex number
            turned = (x[..., 0::2] + 1j * x[..., 1::2]) * turn
            return np.stack((turned.real, turned.imag), axis=-1).reshape(x.shape)
        turned = (x[..., :half] + 1j * x[..., half:]) * turn  # i and i + size/2 are
        return np.concatenate((turned.real, turned.imag), axis=-1)

    def _project(self, x, prefix, letter, heads):
        out = self._multiply(x, f"{prefix}attn_{letter}.weight")
        if f"{prefix}attn_{letter}.bias" in self.weights:
            out = out + self.weights[f"{prefix}attn_{letter}.bias"]
        out = out.reshape(len(x), heads, self.size)
        if f"{prefix}attn_{letter}_norm.weight" in self.weights:
            out = self._norm(out, f"{prefix}attn_{letter}_norm.weight")
        return out

    def _attend(self, x, block):
        prefix, first = f"blk.{block}.", len(self.keys[block])
        q = self._rotate(self._project(x, prefix, "q", self.heads), first)
        k = self._rotate(self._project(x, prefix, "k", self.kv_heads), first)
        v = self._project(x, prefix, "v", self.kv_heads)
        self.keys[block] = np.concatenate((self.keys[block], k))
        self.values[block] = np.concatenate((self.values[block], v))
        group = self.heads // self.kv_heads
        out = np.empty_like(q)
        for row in range(len(x)):
            seen = first + row + 1
            for head in range(self.heads):
                scores = self.keys[block][:seen, head // group] @ q[row, head] / np.sqrt(self.size)
                weights = np.exp(scores - scores.max())
                out[row, head] = weights @ self.values[block][:seen, head // group] / weights.sum()
        return self._multiply(out.reshape(len(x), -1), f"{prefix}attn_output.weight")

    def states(self, ids):
        """Final states (len(ids), width) of the new tokens."""
        x = self.weights["token_embd.weight"][ids]
        for block in range(self.block_count):
            prefix = f"blk.{block}."
            x = x + self._attend(self._norm(x, f"{prefix}attn_norm.weight"), block)
            h = self._norm(x, f"{prefix}ffn_norm.weight")
            gate = self._multiply(h, f"{prefix}ffn_gate.weight")
            up = self._multiply(h, f"{prefix}ffn_up.weight")
            x = x + self._multiply(gate / (1 + np.exp(-gate)) * up, f"{prefix}ffn_down.weight")
        return self._norm(x, "output_norm.weight")

    def feed(self, ids):
        """Logits (len(ids), vocabulary) after each of the new tokens."""
        head = "output.weight" if "output.weight" in self.weights else "token_embd.weight"
        return self._multiply(self.states(ids), head)

    def greedy(self, ids, count):
        """`count` tokens by argmax (the lowest id on a tie), never stopping; and their margins."""
        self.reset()
        row, out, margins = self.feed(np.array(ids))[-1], [], []
        for _ in range(count):
            second, best = np.sort(row)[-2:]
            out.append(int(np.argmax(row)))
            margins.append(float(best - second))
            row = self.feed(np.array(out[-1:]))[-1]
        return out, margins


def load_tokenizer(meta):
    merges = [tuple(pair.split(" ")) for pair in meta["tokenizer.ggml.merges"]]
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    return Tokenizer(tokens, types, merges, meta["tokenizer.ggml.pre"])


def encode_prompt(tokenizer, meta, text):
    bos = [meta["tokenizer.ggml.bos_token_id"]] if meta.get("tokenizer.ggml.add_bos_token") else []
    return bos + tokenizer.encode(text)


def chat_prompt(question):
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def prompts_for(meta):
    if "demo" in meta["general.name"]:
        return {name: chat_prompt(question) for name, question in DEMO_QUESTIONS.items()}
    chat = CHAT["llama3" if meta["general.architecture"] == "llama" else "chatml"]
    return {**TINY_PROMPTS, "chat": chat}


def recorded_positions(prompt_length, total):
    """The ends of the first KV blocks, the prompt's end, and some of the answer."""
    wanted = {0, 15, 16, 31, 32, total - 1}
    wanted |= {prompt_length - 1, prompt_length + 7, prompt_length + 15}
    return sorted(pos for pos in wanted if 0 <= pos < total)


def golden_prompt(exact, rounded, tokenizer, name, text, end_ids):
    ids = encode_prompt(tokenizer, exact.gguf.meta, text)
    greedy, margins = exact.greedy(ids, GREEDY_COUNT)
    whole = np.array(ids + greedy[:-1])
    exact.reset()
    exact_rows = exact.feed(whole)
    rounded.reset()
    rounded_rows = rounded.feed(whole)
    logits = []
    for pos in recorded_positions(len(ids), len(whole)):
        top = np.argsort(-rounded_rows[pos], kind="stable")[:TOP_COUNT]
        logits.append(
            {
                "pos": pos,
                "top": [[int(i), round(float(rounded_rows[pos][i]), 5)] for i in top],
                "exact": [round(float(exact_rows[pos][i]), 5) for i in top],
            }
        )
    ends = [at for at, token in enumerate(greedy) if token in end_ids]
    return {
        "name": name,
        "text": text,
        "ids": ids,
        "greedy": greedy,
        "greedy_hex": tokenizer.decode_bytes(greedy).hex(),
        "eog_at": ends[0] if ends else None,
        "margin": [round(margin, 4) for margin in margins],
        "logits": logits,
    }


def make_golden(path):
    gguf = GgufReader(path)
    meta, tokenizer = gguf.meta, load_tokenizer(gguf.meta)
    type_name = FILE_TYPE_NAMES[meta["general.file_type"]]
    names = ("<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>")
    end_ids = sorted(tokenizer.ids[name] for name in names if name in tokenizer.ids)
    exact, rounded = Reference(gguf), Reference(gguf, round_activations=True)
    prompts = [
        golden_prompt(exact, rounded, tokenizer, name, text, end_ids)
        for name, text in prompts_for(meta).items()
    ]
    return {
        "format": 1,
        "model": os.path.basename(path),
        "sha256": hashlib.sha256(gguf.data).hexdigest(),
        "arch": meta["general.architecture"],
        "type": type_name,
        "n_vocab": len(tokenizer.tokens),
        "bos": meta["tokenizer.ggml.bos_token_id"],
        "eos": meta["tokenizer.ggml.eos_token_id"],
        "eog": end_ids,
        "flip_margin": FLIP_MARGIN[type_name],
        "prompts": prompts,
    }


def golden_path(model_path, kind="golden"):
    name = os.path.basename(model_path)[: -len(".gguf")]
    return os.path.join(HERE, "models", f"{name}.{kind}.json")


def unit_vector(vector):
    return [round(float(value), 7) for value in vector / np.sqrt(vector @ vector)]


def make_embeddings(path):
    gguf = GgufReader(path)
    reference, tokenizer, prompts = Reference(gguf), load_tokenizer(gguf.meta), []
    for name, text in prompts_for(gguf.meta).items():
        ids = encode_prompt(tokenizer, gguf.meta, text)
        reference.reset()
        states = reference.states(np.array(ids))
        mean, last = unit_vector(states.mean(axis=0)), unit_vector(states[-1])
        prompts.append({"name": name, "text": text, "ids": ids, "mean": mean, "last": last})
    return {
        "format": 1,
        "model": os.path.basename(path),
        "sha256": hashlib.sha256(gguf.data).hexdigest(),
        "type": FILE_TYPE_NAMES[gguf.meta["general.file_type"]],
        "prompts": prompts,
    }


def write_embeddings(path):
    text = json.dumps(make_embeddings(path), ensure_ascii=False, separators=(",", ":"))
    with open(golden_path(path, "embeddings"), "w", encoding="utf-8") as file:
        file.write(text.replace('{"name"', '\n{"name"') + "\n")
    print(f"wrote {golden_path(path, 'embeddings')}")


def check_embeddings(path):
    with open(golden_path(path, "embeddings"), encoding="utf-8") as file:
        old = json.load(file)
    new = make_embeddings(path)
    vectors = [
        np.array([prompt[pooling] for prompt in one["prompts"] for pooling in ("mean", "last")])
        for one in (new, old)
    ]
    fine = new["sha256"] == old["sha256"] and np.abs(vectors[0] - vectors[1]).max() < 1e-6
    print(f"{os.path.basename(path)}, embeddings: {'equal' if fine else 'DIFFERENT'}")
    return fine


def write_golden(path):
    text = json.dumps(make_golden(path), ensure_ascii=False, separators=(",", ":"))
    with open(golden_path(path), "w", encoding="utf-8") as file:
        file.write(text.replace('{"name"', '\n{"name"').replace('{"pos"', '\n {"pos"') + "\n")
    print(f"wrote {golden_path(path)}")


def recorded_values(golden):
    rows = [row for prompt in golden["prompts"] for row in prompt["logits"]]
    return np.array([row["exact"] + [value for _, value in row["top"]] for row in rows])


def largest_difference(new, old):
    return np.abs(recorded_values(new) - recorded_values(old)).max()


def check_golden(path):
    """Recompute; greedy tokens must be equal and logits agree to the digits written."""
    with open(golden_path(path), encoding="utf-8") as file:
        old = json.load(file)
    new = make_golden(path)
    same = new["sha256"] == old["sha256"] and all(
        p["ids"] == q["ids"] and p["greedy"] == q["greedy"]
        for p, q in zip(new["prompts"], old["prompts"])
    )
    fine = same and largest_difference(new, old) < 1e-4
    print(f"{os.path.basename(path)}: {'equal' if fine else 'DIFFERENT'}")
    return fine


def ask(path, question):
    gguf = GgufReader(path)
    tokenizer, end = load_tokenizer(gguf.meta), gguf.meta["tokenizer.ggml.eos_token_id"]
    engine, out = Reference(gguf), []
    ids = encode_prompt(tokenizer, gguf.meta, chat_prompt(question))
    while len(out) < 200:
        token = int(np.argmax(engine.feed(np.array(ids))[-1]))
        if token == end:
            break
        out.append(token)
        ids = [token]
    print(tokenizer.decode(out))


def main():
    parser = argparse.ArgumentParser(description="float64 reference answers for GGUF models")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("write", "write MODEL.golden.json"),
        ("write-embeddings", "write MODEL.embeddings.json"),
        ("check", "recompute both, where there are both, and compare"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("models", nargs="+")
    command = commands.add_parser("ask", help="one chat question, greedy")
    command.add_argument("model")
    command.add_argument("question")
    args = parser.parse_args()
    if args.command == "ask":
        ask(args.model, args.question)
    elif args.command == "write":
        for path in args.models:
            write_golden(path)
    elif args.command == "write-embeddings":
        for path in args.models:
            write_embeddings(path)
    else:
        fine = [check_golden(path) for path in args.models]
        with_vectors = [p for p in args.models if os.path.exists(golden_path(p, "embeddings"))]
        fine += [check_embeddings(path) for path in with_vectors]
        if not all(fine):
            sys.exit(1)


if __name__ == "__main__":
    main()
