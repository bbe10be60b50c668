#!/usr/bin/python3
"""
sentencepiece.py: what SentencePiece itself makes of some texts, with a vocabulary that it trained.
Job      train on the demo model's phrases, as Llama's was (BPE, byte fallback, nothing normalised), and
         write the pieces, their scores and types (GGUF's numbers), and the ids of each text. `compare`
         holds an encoder against it on many more: a program that takes a GGUF file, reads a line of
         hexadecimal a text and answers with a line of ids.
Needs    python3-sentencepiece.
Never    has a text with U+2581 in it: SentencePiece takes it for a space, and cannot give it back;
         the gateway's tokenizer keeps its bytes.
Example  sentencepiece.py write tests/golden/sentencepiece.golden.json
"""
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path = [path for path in sys.path if os.path.abspath(path or ".") != HERE]  # this file has the module's name
import sentencepiece  # noqa: E402

PHRASES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "scripts", "demo_model")
EDGES = ["", " ", "  ", "a", " a", "a ", "  a  b  ", "\n", "\t", "a\nb", "\r\n", "<s>", "</s>", "<unk>", "<0x41>",
         "\u00e9", "e\u0301", "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\u0000", "\u200b", "\ufeff", "\u3000",
         "\u5976\u8336", "1234567890", "3.14", "a" * 100, "  " * 20, "ab" * 40, "The the THE", "milk tea, please!",
         "\u6211\u7684\u8ba2\u5355\u5230\u54ea\u4e86", "free card? \u5976\u8336 now\n\n  ok", "It's 100% free."]


def train(lines, vocab_size, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(lines), model_prefix=path, model_type="bpe", vocab_size=vocab_size,
            byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
            split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2, **options)
        return sentencepiece.SentencePieceProcessor(model_file=path + ".model")


def type_of(model, piece):
    return (2 if model.is_unknown(piece) else 3 if model.is_control(piece) else 6 if model.is_byte(piece)
            else 5 if model.is_unused(piece) else 1)


def phrases(name):
    with open(os.path.join(PHRASES, name), encoding="utf-8") as file:
        return [line for line in file.read().split("\n") if line]


def texts(lines, count, seed):
    rng = random.Random(seed)
    words = " ".join(lines).split()
    points = [*range(32, 127), *range(0xa0, 0x250), *range(0x4e00, 0x4e40), *range(0x1f600, 0x1f610), 9, 10, 13, 0x3000]
    made = list(EDGES)
    while len(made) < count:
        kind = rng.random()
        if kind < .3:
            made.append("".join(chr(rng.choice(points)) for _ in range(rng.randrange(1, 30))))
        elif kind < .7:
            made.append((" " * rng.randrange(4)).join(rng.choice(words) for _ in range(rng.randrange(1, 10))))
        else:
            line = rng.choice(lines)
            made.append(line[rng.randrange(len(line)):] + chr(rng.choice(points)) + rng.choice(words))
    return [text for text in made if "\u2581" not in text]


def write(path):
    lines = phrases("phrases.en.txt")
    model = train(lines + phrases("phrases.zh.txt")[:40], 700, character_coverage=0.98)
    ids = range(model.vocab_size())
    cases = [{"text": text, "ids": model.encode(text)} for text in texts(lines, 120, 1)]
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"pieces": [model.id_to_piece(i) for i in ids], "scores": [model.get_score(i) for i in ids],
                   "types": [type_of(model, i) for i in ids], "cases": cases}, file, ensure_ascii=True)
        file.write("\n")


def string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def gguf_of(model, adds_space):
    ids = range(model.vocab_size())
    values = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("tokenizer.ggml.model") + struct.pack("<I", 8) + string("llama"),
        string("tokenizer.ggml.add_space_prefix") + struct.pack("<I?", 7, adds_space),
        string("tokenizer.ggml.bos_token_id") + struct.pack("<II", 4, 1),
        string("tokenizer.ggml.eos_token_id") + struct.pack("<II", 4, 2),
        string("tokenizer.ggml.tokens") + struct.pack("<IIQ", 9, 8, len(ids)) +
        b"".join(string(model.id_to_piece(i)) for i in ids),
        string("tokenizer.ggml.scores") + struct.pack("<IIQ", 9, 6, len(ids)) +
        b"".join(struct.pack("<f", model.get_score(i)) for i in ids),
        string("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, len(ids)) +
        b"".join(struct.pack("<i", type_of(model, i)) for i in ids)]
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(values) + bytes(64)


def compare(program, count=10000):
    lines = phrases("phrases.en.txt") + phrases("phrases.zh.txt")
    kinds = [(3000, {}), (3000, {"add_dummy_prefix": False}), (1300, {"character_coverage": 0.99})]
    differ = 0
    for seed, (vocab_size, options) in enumerate(kinds):
        model, asked = train(lines, vocab_size, **options), texts(lines, count, seed)
        with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
            file.write(gguf_of(model, options.get("add_dummy_prefix", True)))
            file.flush()
            answer = subprocess.run([program, file.name], input="".join(text.encode().hex() + "\n" for text in asked),
                                    capture_output=True, text=True, check=True).stdout.split("\n")
        wrong = [text for text, line in zip(asked, answer) if model.encode(text) != [int(one) for one in line.split()]]
        print(f"{len(asked)} texts, {vocab_size} pieces, {options}: {len(wrong)} differ {wrong[:3]}")
        differ += len(wrong)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(compare(sys.argv[2]) if sys.argv[1] == "compare" else write(sys.argv[2]))
