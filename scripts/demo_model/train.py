#!/usr/bin/python3
"""
train.py: make conf/models/demo.gguf again: corpus, tokenizer, training, file, report.
Job      one command, one seed, one result; stopped and started again it goes on from its last
         checkpoint, and batch n is the same text whether or not there was a stop.
Needs    python3-torch, python3-regex, python3-numpy and, for speed, libopenblas0-pthread.
Writes   build-demo-model/ (settings.json, tokenizer.json, checkpoint.pt, log.txt, report.json)
         and --out.
"""

import argparse
import hashlib
import json
import math
import os
import random
import sys
import time
from collections import Counter

# One thread everywhere: the order of sums, and so the result, stays the same. Must be set before
# numpy and torch load.
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"

import torch
from torch.nn import functional as F

import corpus
import gguf_writer
from model import SHAPE, DemoModel
from tokenizer import CHATML_TEMPLATE, Tokenizer, learn_merges, split_text

REPOSITORY = os.path.dirname(os.path.dirname(corpus.FOLDER))
END_OF_TEXT, TURN_START, TURN_END = CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENIZER_DIALOGUES = 30000
ROUND_BATCHES = 32  # batches drawn together, so that a batch has dialogues of like length
# What a token is, and its weight in the loss. The opening of an answer is where the model decides
# which answer it gives; the rest of a stock answer follows almost by itself.
PADDING, GIVEN, OPENING, REST = range(4)
KIND_WEIGHTS = torch.tensor([0.0, 0.05, 1.0, 0.25])
OPENING_TOKENS = 8
SAMPLES = [
    "what is on offer?",
    "how do I get a free card?",
    "我的订单到哪了",
    "Who are you?",
    "why am i waiting in line",
    "怎么邀请朋友",
    "Is it sold out already?",
    "what's the weather like",
]


def make_tokenizer(intents, seed, path):
    """Learn the vocabulary once; later runs read it back."""
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            merges = [tuple(pair) for pair in json.load(file)]
        return Tokenizer.from_merges(merges, CONTROLS)
    rng, counts = random.Random(seed), Counter()
    for _ in range(TOKENIZER_DIALOGUES):
        for role, text in corpus.dialogue(intents, rng):
            counts.update(split_text(f"{role}\n{text}\n"))
    # A root of the count, so that stock answers do not take the whole vocabulary.
    weights = {piece: int(100 * count**0.6) for piece, count in counts.items() if count > 1}
    merges = learn_merges(weights, SHAPE["vocab_count"] - 256 - len(CONTROLS))
    with open(path, "w", encoding="utf-8") as file:
        json.dump(merges, file, ensure_ascii=False)
    return Tokenizer.from_merges(merges, CONTROLS)


def encode_dialogue(tokenizer, messages):
    """Ids, and the kind of each."""
    ids, kinds = [], []
    for role, content in messages:
        head = tokenizer.encode(f"{TURN_START}{role}\n")
        body = tokenizer.encode_plain(content) + [tokenizer.ids[TURN_END]]
        tail = tokenizer.encode_plain("\n")
        ids += head + body + tail
        if role == "assistant":
            opening = min(OPENING_TOKENS, len(body))
            body_kinds = [OPENING] * opening + [REST] * (len(body) - opening)
        else:
            body_kinds = [GIVEN] * len(body)
        kinds += [GIVEN] * len(head) + body_kinds + [GIVEN] * len(tail)
    return ids, kinds


def pad_batch(encoded, padding_id):
    length = max(len(ids) for ids, _ in encoded)
    ids = torch.full((len(encoded), length), padding_id)
    kinds = torch.full((len(encoded), length), PADDING)
    for row, (row_ids, row_kinds) in enumerate(encoded):
        ids[row, : len(row_ids)] = torch.tensor(row_ids)
        kinds[row, : len(row_ids)] = torch.tensor(row_kinds)
    return ids, kinds


class Batches:
    """Batch n of the training text, the same for the same seed however often it is asked for."""

    def __init__(self, intents, tokenizer, seed, batch_tokens):
        self.intents, self.tokenizer = intents, tokenizer
        self.seed, self.batch_tokens = seed, batch_tokens
        self.round_index, self.batches = -1, []

    def _draw(self, round_index):
        rng = random.Random(self.seed * 1_000_003 + round_index)
        pool, total = [], 0
        while total < ROUND_BATCHES * self.batch_tokens:
            ids, kinds = encode_dialogue(self.tokenizer, corpus.dialogue(self.intents, rng))
            pool.append((ids[: SHAPE["context_length"]], kinds[: SHAPE["context_length"]]))
            total += len(pool[-1][0])
        pool.sort(key=lambda item: len(item[0]))
        cuts, used = [[]], 0
        for item in pool:
            if used >= self.batch_tokens and len(cuts) < ROUND_BATCHES:
                cuts.append([])
                used = 0
            cuts[-1].append(item)
            used += len(item[0])
        while len(cuts) < ROUND_BATCHES:
            cuts.append(rng.choice(cuts))
        rng.shuffle(cuts)
        self.round_index, self.batches = round_index, cuts

    def get(self, step):
        if step // ROUND_BATCHES != self.round_index:
            self._draw(step // ROUND_BATCHES)
        return pad_batch(self.batches[step % ROUND_BATCHES], self.tokenizer.ids[END_OF_TEXT])


def token_losses(model, ids):
    logits = model(ids[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")


def weighted_loss(model, ids, kinds):
    weights = KIND_WEIGHTS[kinds[:, 1:].flatten()]
    return (token_losses(model, ids) * weights).sum() / weights.sum()


@torch.no_grad()
def held_out_loss(model, tokenizer, dialogues):
    """Mean loss of the assistant's tokens in these dialogues, and of the openings alone."""
    encoded = [encode_dialogue(tokenizer, messages) for messages in dialogues]
    encoded.sort(key=lambda item: len(item[0]))
    sums, counts = torch.zeros(4), torch.zeros(4)
    for start in range(0, len(encoded), 32):
        ids, kinds = pad_batch(encoded[start : start + 32], tokenizer.ids[END_OF_TEXT])
        losses, kinds = token_losses(model, ids), kinds[:, 1:].flatten()
        for kind in (OPENING, REST):
            sums[kind] += losses[kinds == kind].sum()
            counts[kind] += (kinds == kind).sum()
    return float(sums.sum() / counts.sum()), float(sums[OPENING] / counts[OPENING])


def reply(model, tokenizer, messages):
    ids = tokenizer.encode(corpus.chatml(messages, opened=True))
    return tokenizer.decode(model.greedy(ids, tokenizer.ids[TURN_END]))


def held_out_accuracy(model, tokenizer, intents, dialogues):
    """Share of questions whose greedy answer is, word for word, one of the right intent's."""
    owner = {
        text: intent.name
        for intent in intents.values()
        for language in corpus.LANGUAGES
        for text in intent.answers[language]
    }
    wrong = []
    for messages in dialogues:
        got = reply(model, tokenizer, messages[:-1])
        if owner.get(got) != owner[messages[-1][1]]:
            wrong.append((messages[0][1], got))
    return 1 - len(wrong) / len(dialogues), wrong


def learning_rate(step, steps, peak):
    """Up over the first 40 steps, level to 40 % of the run, then down a half cosine."""
    warm, level = min(1.0, (step + 1) / 40), int(0.4 * steps)
    if step < level:
        return peak * warm
    return peak * max(0.02, 0.5 * (1 + math.cos(math.pi * (step - level) / (steps - level))))


class Muon(torch.optim.Optimizer):
    """
    Momentum, then the nearest matrix with equal singular values (five Newton-Schulz steps); learns
    from fewer tokens than Adam. Source: K. Jordan and others, "Muon", 2024.
    """

    def __init__(self, weights, momentum=0.95, weight_decay=0.02):
        super().__init__(weights, {"lr": 0.0, "momentum": momentum, "weight_decay": weight_decay})

    @staticmethod
    def even_out(matrix):
        x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            square = x @ x.T
            x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
        return x if matrix.shape[0] <= matrix.shape[1] else x.T

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                average = state.setdefault("average", torch.zeros_like(weight))
                average.lerp_(weight.grad, 1 - group["momentum"])
                update = self.even_out(weight.grad.lerp(average, group["momentum"]))
                scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * scale)


def make_optimizers(model):
    """Muon for the matrices inside blocks, Adam for embedding, norms and biases."""
    inner, outer = [], []
    for name, weight in model.named_parameters():
        (inner if name.startswith("blk.") and weight.dim() == 2 else outer).append(weight)
    return [Muon(inner), torch.optim.Adam(outer, betas=(0.9, 0.97), eps=1e-8)]


def save_checkpoint(path, model, optimizers, step):
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"model": model.state_dict(), "optimizers": states, "step": step}, path + ".new")
    os.replace(path + ".new", path)


def load_checkpoint(path, model, optimizers):
    """The step to go on from: 0 without a checkpoint."""
    if not os.path.exists(path):
        return 0
    saved = torch.load(path)
    model.load_state_dict(saved["model"])
    for optimizer, state in zip(optimizers, saved["optimizers"]):
        optimizer.load_state_dict(state)
    return saved["step"]


def train_step(model, optimizers, ids, kinds):
    loss = weighted_loss(model, ids, kinds)
    model.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    return float(loss)


def train(model, batches, held_out, args, log):
    path = os.path.join(args.work, "checkpoint.pt")
    optimizers = make_optimizers(model)
    first = load_checkpoint(path, model, optimizers)
    if first > 0:
        log(f"going on from step {first}")
    started, tokens, losses = time.monotonic(), 0, []
    for step in range(first, args.steps):
        for optimizer, peak in zip(optimizers, (args.muon_rate, args.adam_rate)):
            optimizer.param_groups[0]["lr"] = learning_rate(step, args.steps, peak)
        ids, kinds = batches.get(step)
        losses.append(train_step(model, optimizers, ids, kinds))
        tokens += ids.numel()
        done = step + 1
        if done % 50 == 0 or done == args.steps:
            speed = tokens / (time.monotonic() - started)
            mean = sum(losses) / len(losses)
            log(f"step {done}/{args.steps} loss {mean:.4f} {speed:.0f} tokens/s")
            losses = []
        if done % 200 == 0 or done == args.steps:
            whole, opening = held_out_loss(model, batches.tokenizer, held_out)
            log(f"step {done} held-out loss {whole:.4f}, of openings {opening:.4f}")
            save_checkpoint(path, model, optimizers, done)


def export(model, tokenizer, path):
    metadata = gguf_writer.model_metadata("qwen2", "floodgate-demo", "F16", model.shape)
    metadata.update(
        gguf_writer.tokenizer_metadata(
            tokenizer,
            bos=END_OF_TEXT,
            eos=TURN_END,
            padding=END_OF_TEXT,
            chat_template=CHATML_TEMPLATE,
            add_bos=False,
        )
    )
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    gguf_writer.write_gguf(path, metadata, model.tensors(), "F16")


def report(model, tokenizer, intents, held_out, args, log):
    loss, opening = held_out_loss(model, tokenizer, held_out)
    share, wrong = held_out_accuracy(model, tokenizer, intents, held_out)
    log(f"held-out: loss {loss:.4f}, of openings {opening:.4f}")
    log(f"held-out: {100 * share:.1f} % of {len(held_out)} questions get the right answer")
    answers = {question: reply(model, tokenizer, [("user", question)]) for question in SAMPLES}
    for question, text in answers.items():
        log(f"  {question}\n    {text}")
    facts = {
        "parameters": sum(w.numel() for w in model.parameters()),
        "steps": args.steps,
        "seed": args.seed,
        "held_out_questions": len(held_out),
        "held_out_loss": round(loss, 4),
        "held_out_opening_loss": round(opening, 4),
        "held_out_right_share": round(share, 4),
        "samples": answers,
        "wrong": wrong,
    }
    with open(os.path.join(args.work, "report.json"), "w", encoding="utf-8") as file:
        json.dump(facts, file, ensure_ascii=False, indent=1)


def parse_arguments():
    parser = argparse.ArgumentParser(description="make the demo model")
    parser.add_argument("--out", default=os.path.join(REPOSITORY, "conf", "models", "demo.gguf"))
    parser.add_argument("--work", default=os.path.join(REPOSITORY, "build-demo-model"))
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--muon-rate", type=float, default=0.02)
    parser.add_argument("--adam-rate", type=float, default=4e-3)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def check_settings(args):
    """Refuse to go on with a run that was begun with other settings or other phrases."""
    digest = hashlib.sha256()
    for language in corpus.LANGUAGES:
        with open(os.path.join(corpus.FOLDER, f"phrases.{language}.txt"), "rb") as file:
            digest.update(file.read())
    names = ("steps", "batch_tokens", "muon_rate", "adam_rate", "seed")
    settings = {name: getattr(args, name) for name in names}
    settings["phrases_sha256"] = digest.hexdigest()
    path = os.path.join(args.work, "settings.json")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            if json.load(file) != settings:
                sys.exit(f"{args.work}: begun with other settings; delete it or give --work")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(settings, file, indent=1)


def main():
    args = parse_arguments()
    os.makedirs(args.work, exist_ok=True)
    check_settings(args)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    log_file = open(os.path.join(args.work, "log.txt"), "a", encoding="utf-8")

    def log(text):
        print(text, flush=True)
        print(text, file=log_file, flush=True)

    intents = corpus.load_intents()
    tokenizer = make_tokenizer(intents, args.seed, os.path.join(args.work, "tokenizer.json"))
    model = DemoModel()
    held_out = corpus.held_out_dialogues(intents)
    batches = Batches(intents, tokenizer, args.seed, args.batch_tokens)
    log(f"{sum(w.numel() for w in model.parameters())} parameters, {len(tokenizer.tokens)} tokens")
    train(model, batches, held_out, args, log)
    model.round_to_f16()
    export(model, tokenizer, args.out)
    log(f"wrote {args.out}: {os.path.getsize(args.out)} bytes")
    report(model, tokenizer, intents, held_out, args, log)


if __name__ == "__main__":
    main()
