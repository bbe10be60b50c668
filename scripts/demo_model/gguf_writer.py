"""
gguf_writer.py: write a GGUF v3 file (llama.cpp's names and layouts), numpy only.
Job      pack metadata and tensors, each of the type that the caller names.
Layout   header, key/value pairs, tensor table, padding, tensor data; offsets are relative to the
         data and a multiple of 32; dimensions go fastest first, so a (rows, cols) array is
         written as cols, rows.
Never    rounds metadata: what is written is what the caller gave.
Source   ggml's docs/gguf.md; the types are in quantizers.py.
"""

import struct

import numpy as np
from quantizers import TYPES, quantize

ALIGNMENT = 32
# general.file_type: the type that most tensors have.
FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9}
FILE_TYPES.update({"Q4_K": 15, "Q5_K": 17, "Q6_K": 18, "BF16": 32})

_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def _string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _value(value):
    """Type id and bytes of a metadata value; Python's type decides the GGUF type."""
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, list) and value and isinstance(value[0], str):
        body = b"".join(_string(item) for item in value)
        return struct.pack("<IIQ", _ARRAY, _STRING, len(value)) + body
    if isinstance(value, list) and value and isinstance(value[0], int):
        body = np.array(value, "<i4").tobytes()
        return struct.pack("<IIQ", _ARRAY, _I32, len(value)) + body
    raise TypeError(f"no GGUF type for {value!r}")


def write_gguf(path, metadata, tensors, matrix_type, version=3):
    """
    `metadata`: ordered dict of keys to values. `tensors`: ordered dict of names to float arrays, or
    to (shape, bytes) that are quantized already. Matrices are stored as `matrix_type`: a type, or
    a function from the tensor's name to one; one-dimensional tensors as F32.
    """
    head = bytearray(struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(metadata)))
    for key, value in metadata.items():
        head += _string(key) + _value(value)
    blobs, offset = [], 0
    for name, array in tensors.items():
        shape, blob = array if isinstance(array, tuple) else (array.shape, None)
        type_name = matrix_type(name) if callable(matrix_type) else matrix_type
        type_name = type_name if len(shape) > 1 else "F32"
        blob = quantize(array, type_name) if blob is None else blob
        head += _string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        head += struct.pack("<IQ", TYPES[type_name][0], offset)
        blobs.append(blob + bytes(-len(blob) % ALIGNMENT))
        offset += len(blobs[-1])
    head += bytes(-len(head) % ALIGNMENT)
    with open(path, "wb") as file:
        file.write(head)
        file.writelines(blobs)


def model_metadata(arch, name, matrix_type, shape):
    """The keys every model has. `shape` is a dict: see the names it is read by."""
    meta = {
        "general.architecture": arch,
        "general.name": name,
        "general.alignment": ALIGNMENT,
        "general.file_type": FILE_TYPES[matrix_type],
        "general.quantization_version": 2,
        f"{arch}.block_count": shape["block_count"],
        f"{arch}.context_length": shape["context_length"],
        f"{arch}.embedding_length": shape["width"],
        f"{arch}.feed_forward_length": shape["ffn_width"],
        f"{arch}.attention.head_count": shape["head_count"],
        f"{arch}.attention.head_count_kv": shape["kv_head_count"],
        f"{arch}.attention.layer_norm_rms_epsilon": shape["rms_epsilon"],
        f"{arch}.rope.freq_base": shape["rope_base"],
    }
    if shape["head_width"] * shape["head_count"] != shape["width"]:
        meta[f"{arch}.attention.key_length"] = shape["head_width"]
        meta[f"{arch}.attention.value_length"] = shape["head_width"]
    if arch == "llama":
        meta["llama.rope.dimension_count"] = shape["head_width"]
        meta["llama.vocab_size"] = shape["vocab_count"]
    return meta


def tokenizer_metadata(tokenizer, bos, eos, padding, chat_template, add_bos):
    """The keys of a byte-level BPE, as llama.cpp writes them; bos, eos and padding are tokens."""
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": tokenizer.pre,
        "tokenizer.ggml.tokens": list(tokenizer.tokens),
        "tokenizer.ggml.token_type": list(tokenizer.token_types),
        "tokenizer.ggml.merges": [a + " " + b for a, b in tokenizer.merges],
        "tokenizer.ggml.bos_token_id": tokenizer.ids[bos],
        "tokenizer.ggml.eos_token_id": tokenizer.ids[eos],
        "tokenizer.ggml.padding_token_id": tokenizer.ids[padding],
        "tokenizer.ggml.add_bos_token": add_bos,
        "tokenizer.chat_template": chat_template,
    }
