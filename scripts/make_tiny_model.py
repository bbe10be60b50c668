#!/usr/bin/python3
"""
make_tiny_model.py: a tiny GGUF with random weights for the tests, numpy only.
Job      the same bytes for the same --arch, --type and --seed; its text means nothing, its
         numbers exercise what an architecture has: biases (qwen2), q/k norms, a head width that is
         not width / heads and a separate output matrix (qwen3), neighbouring rope pairs and a
         BOS token (llama), scaled rope frequencies (llama with --rope-factors). The type MIXED
         gives each matrix another type, all that there are in one file, as real Q4_K_M files mix
         theirs; such a model is 256 wide, which the K types need.
Example  scripts/make_tiny_model.py --arch qwen2 --type F16 --out tiny.gguf
         scripts/make_tiny_model.py --arch llama --type MIXED --rope-factors --gguf-version 2 \
                                    --out tiny-llama.MIXED.gguf
"""

import argparse
import os
import re
import sys
from collections import Counter

import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "demo_model"))
import gguf_writer  # noqa: E402
import quantizers  # noqa: E402
from tokenizer import CHATML_TEMPLATE, Tokenizer, learn_merges  # noqa: E402

VOCAB_COUNT = 512
UNUSED = 5  # tokenizer.ggml.token_type of a padding token: a zero row that never wins

BASE_SHAPE = {
    "vocab_count": VOCAB_COUNT,
    "width": 64,
    "block_count": 2,
    "head_count": 4,
    "kv_head_count": 2,
    "head_width": 16,
    "ffn_width": 96,
    "context_length": 512,
    "rms_epsilon": 1e-6,
    "rope_base": 1e6,
}
SHAPES = {
    "qwen2": BASE_SHAPE,
    "qwen3": {**BASE_SHAPE, "kv_head_count": 1, "head_width": 32},
    "llama": {**BASE_SHAPE, "rms_epsilon": 1e-5, "rope_base": 5e5},
}
MIXED = "MIXED"
MIXED_SHAPE = {"width": 256, "head_width": 64, "ffn_width": 512}
# Given to the matrices in turn, the large types to small ones: the embedding; then query, key,
# value, output, gate, up and down of each block.
MIXED_TYPES = ["Q6_K"]
MIXED_TYPES += ["Q4_K", "F32", "F16", "Q5_K", "Q4_0", "Q4_1", "Q5_0"]
MIXED_TYPES += ["Q5_1", "BF16", "Q8_0", "Q6_K", "Q4_K", "Q5_K", "Q8_0"]
HAS_OWN_OUTPUT = {"qwen2": False, "qwen3": True, "llama": False}

QWEN_CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
LLAMA_CONTROLS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
]
LLAMA3_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{% endif %}"
)

TEXT = """The gateway takes a request, finds its route and asks each stage in turn. When there is room
the request goes on to a backend; when there is none it waits, and when waiting would be too long it
is refused at once. A milk tea is ordered with a card, the card is used once, and the order is kept
whatever happens. The model reads the prompt in chunks and writes one token after another; sixteen
positions make a block, and blocks are shared between requests that begin alike. It's what we'd
want: the queue doesn't grow without end, they'll see why they wait, and I'm sure you've seen worse.
user system assistant
int main(void) { return 0; } {"role": "user", "content": "hello"} 0123456789 3.14 2026
你好，奶茶。请问我的订单到哪了？网关把请求送到模型，排队的人看到自己的位置。谢谢，再见。
Straße, café, naïve, привет, こんにちは, 안녕
"""


def tiny_tokenizer(arch):
    """Merges learnt from TEXT; words keep their leading space, as pre-tokenizers leave them."""
    counts = Counter(re.findall(r" ?[^\W\d_]+|\d| ?[^\s\w]+|\n", TEXT))
    merges = learn_merges(dict(counts), 210)
    controls = LLAMA_CONTROLS if arch == "llama" else QWEN_CONTROLS
    tokenizer = Tokenizer.from_merges(merges, controls, "llama-bpe" if arch == "llama" else "qwen2")
    missing = VOCAB_COUNT - len(tokenizer.tokens)
    tokenizer.tokens += [f"[PAD{len(tokenizer.tokens) + i}]" for i in range(missing)]
    tokenizer.token_types += [UNUSED] * missing
    return tokenizer


def llama3_rope_factors(shape):
    """What Llama 3.1 divides its rope frequencies by: 1 for fast ones, 8 for slow, between them a
    smooth way from one to the other (the context it was trained with is taken as 8192)."""
    exponents = np.arange(0, shape["head_width"], 2) / shape["head_width"]
    wavelengths = 2 * np.pi * shape["rope_base"] ** exponents
    smooth = np.clip((8192 / wavelengths - 1) / 3, 0, 1)
    return (1 / (smooth + (1 - smooth) / 8)).astype(np.float32)


def mixed_type(tensors):
    """A function from a tensor's name to its type: the types in turn over the matrices."""
    matrices = [name for name, array in tensors.items() if array.ndim > 1]
    return lambda name: MIXED_TYPES[matrices.index(name) % len(MIXED_TYPES)] if name in matrices else "F32"


def random_tensors(arch, shape, token_types, seed):
    """Tensors under GGUF names, scaled for logits with a standard deviation of a few units."""
    rng = np.random.Generator(np.random.PCG64(seed))
    width, ffn = shape["width"], shape["ffn_width"]
    q_rows = shape["head_count"] * shape["head_width"]
    kv_rows = shape["kv_head_count"] * shape["head_width"]

    def matrix(rows, cols, gain):
        return (rng.standard_normal((rows, cols)) * gain / np.sqrt(cols)).astype(np.float32)

    def vector(size, centre, spread):
        return (centre + spread * rng.standard_normal(size)).astype(np.float32)

    def vocabulary(gain):
        rows = matrix(shape["vocab_count"], width, gain)
        rows[np.array(token_types) == UNUSED] = 0
        return rows

    tensors = {"token_embd.weight": vocabulary(1.0)}
    for block in range(shape["block_count"]):
        part = {
            "attn_norm.weight": vector(width, 1.0, 0.2),
            "attn_q.weight": matrix(q_rows, width, 1.4),
            "attn_k.weight": matrix(kv_rows, width, 1.4),
            "attn_v.weight": matrix(kv_rows, width, 1.0),
            "attn_output.weight": matrix(width, q_rows, 1.5),
            "ffn_norm.weight": vector(width, 1.0, 0.2),
            "ffn_gate.weight": matrix(ffn, width, 1.2),
            "ffn_up.weight": matrix(ffn, width, 1.0),
            "ffn_down.weight": matrix(width, ffn, 2.0),
        }
        if arch == "qwen2":
            part["attn_q.bias"] = vector(q_rows, 0.0, 0.4)
            part["attn_k.bias"] = vector(kv_rows, 0.0, 0.4)
            part["attn_v.bias"] = vector(kv_rows, 0.0, 0.2)
        if arch == "qwen3":
            part["attn_q_norm.weight"] = vector(shape["head_width"], 1.4, 0.2)
            part["attn_k_norm.weight"] = vector(shape["head_width"], 1.4, 0.2)
        tensors.update({f"blk.{block}.{name}": array for name, array in part.items()})
    tensors["output_norm.weight"] = vector(width, 3.5, 0.4)
    if HAS_OWN_OUTPUT[arch]:
        tensors["output.weight"] = vocabulary(1.0)
    return tensors


def write_tiny_model(path, arch, type_name, seed, rope_factors, version):
    shape, tokenizer = SHAPES[arch], tiny_tokenizer(arch)
    if type_name == MIXED:
        shape = {**shape, **MIXED_SHAPE}
    file_type = "Q4_K" if type_name == MIXED else type_name
    metadata = gguf_writer.model_metadata(arch, f"tiny-{arch}", file_type, shape)
    if arch == "llama":
        special = {"bos": "<|begin_of_text|>", "eos": "<|eot_id|>", "padding": "<|end_of_text|>"}
        special.update(chat_template=LLAMA3_TEMPLATE, add_bos=True)
    else:
        special = {"bos": "<|endoftext|>", "eos": "<|im_end|>", "padding": "<|endoftext|>"}
        special.update(chat_template=CHATML_TEMPLATE, add_bos=False)
    metadata.update(gguf_writer.tokenizer_metadata(tokenizer, **special))
    tensors = random_tensors(arch, shape, tokenizer.token_types, seed)
    if rope_factors:
        tensors["rope_freqs.weight"] = llama3_rope_factors(shape)
    matrix_type = mixed_type(tensors) if type_name == MIXED else type_name
    gguf_writer.write_gguf(path, metadata, tensors, matrix_type, version)


def main():
    parser = argparse.ArgumentParser(description="write a tiny GGUF model with random weights")
    parser.add_argument("--arch", choices=sorted(SHAPES), default="qwen2")
    parser.add_argument("--type", choices=[*sorted(quantizers.TYPES), MIXED], default="F16")
    parser.add_argument("--rope-factors", action="store_true", help="rope_freqs.weight, for llama")
    parser.add_argument("--gguf-version", type=int, choices=(2, 3), default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    write_tiny_model(args.out, args.arch, args.type, args.seed, args.rope_factors, args.gguf_version)
    print(f"wrote {args.out}: {os.path.getsize(args.out)} bytes")


if __name__ == "__main__":
    main()
