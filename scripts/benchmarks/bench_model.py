"""
A GGUF model of Qwen2.5-0.5B's shape with random weights: what it says means nothing, what it costs
is what the real one costs.

One tile of random weights is quantized once for each type and repeated, which takes seconds where
half a billion different weights would take minutes. As in a real Q4_K_M file a matrix whose rows
are not a multiple of 256 falls back from Q4_K to Q5_0; the embedding, which is also the output, is
Q8_0 in every file.
"""
import collections
import pathlib
import re
import sys

import numpy as np

DEMO = pathlib.Path(__file__).resolve().parent.parent / "demo_model"
sys.path.insert(0, str(DEMO))
import gguf_writer  # noqa: E402
from quantizers import TYPES, quantize  # noqa: E402
from tokenizer import CHATML_TEMPLATE, Tokenizer, learn_merges  # noqa: E402

SHAPE = {"vocab_count": 151936, "width": 896, "block_count": 24, "head_count": 14, "kv_head_count": 2,
         "head_width": 64, "ffn_width": 4864, "context_length": 32768, "rms_epsilon": 1e-6, "rope_base": 1e6}
CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
UNUSED = 5  # tokenizer.ggml.token_type of a padding token
TILE_ROWS = 64


def matrix_type(name, columns, type_name):
    if name == "token_embd.weight":
        return "Q8_0"
    return "Q5_0" if columns % TYPES[type_name][1] != 0 else type_name


class Maker:
    def __init__(self, type_name):
        self.type_name, self.tiles = type_name, {}
        self.rng = np.random.Generator(np.random.PCG64(5))

    def matrix(self, name, rows, columns):
        """(shape, bytes) of a matrix whose rows repeat after TILE_ROWS, each tile turned by one row."""
        kind = matrix_type(name, columns, self.type_name)
        if (kind, columns) not in self.tiles:
            tile = self.rng.standard_normal((TILE_ROWS, columns), np.float32) / np.sqrt(np.float32(columns))
            self.tiles[kind, columns] = quantize(tile, kind)
        tile = self.tiles[kind, columns]
        row_bytes = len(tile) // TILE_ROWS
        return (rows, columns), (tile * (rows // TILE_ROWS + 1))[:rows * row_bytes]

    def tensors(self):
        width, ffn = SHAPE["width"], SHAPE["ffn_width"]
        kv_rows = SHAPE["kv_head_count"] * SHAPE["head_width"]
        ones, zeros = (lambda n: np.ones(n, np.float32)), (lambda n: np.zeros(n, np.float32))
        yield "token_embd.weight", self.matrix("token_embd.weight", SHAPE["vocab_count"], width)
        for block in range(SHAPE["block_count"]):
            shapes = {"attn_q": (width, width), "attn_k": (kv_rows, width), "attn_v": (kv_rows, width),
                      "attn_output": (width, width), "ffn_gate": (ffn, width), "ffn_up": (ffn, width),
                      "ffn_down": (width, ffn)}
            for name, (rows, columns) in shapes.items():
                yield f"blk.{block}.{name}.weight", self.matrix(name, rows, columns)
            for name, rows in (("q", width), ("k", kv_rows), ("v", kv_rows)):
                yield f"blk.{block}.attn_{name}.bias", zeros(rows)
            yield f"blk.{block}.attn_norm.weight", ones(width)
            yield f"blk.{block}.ffn_norm.weight", ones(width)
        yield "output_norm.weight", ones(width)


def make_tokenizer():
    """Words of the demo's English phrases, three control tokens, and padding up to the real size."""
    text = (DEMO / "phrases.en.txt").read_text(encoding="utf-8")
    words = re.findall(r" ?[^\W\d_]+|\d| ?[^\s\w]+|\n", text)
    merges = learn_merges(dict(collections.Counter(words)), 1500)
    tokenizer = Tokenizer.from_merges(merges, CONTROLS)
    missing = SHAPE["vocab_count"] - len(tokenizer.tokens)
    tokenizer.tokens += [f"[PAD{i}]" for i in range(missing)]
    tokenizer.token_types += [UNUSED] * missing
    return tokenizer


def make(path, type_name):
    maker = Maker(type_name)
    metadata = gguf_writer.model_metadata("qwen2", f"bench-{type_name}", type_name, SHAPE)
    metadata.update(gguf_writer.tokenizer_metadata(
        make_tokenizer(), bos="<|endoftext|>", eos="<|im_end|>", padding="<|endoftext|>",
        chat_template=CHATML_TEMPLATE, add_bos=False))
    tensors = dict(maker.tensors())
    part = path.with_suffix(".part")
    gguf_writer.write_gguf(part, metadata, tensors,
                           lambda name: matrix_type(name, tensors[name][0][-1], type_name)
                           if isinstance(tensors[name], tuple) else "F32")
    part.rename(path)
