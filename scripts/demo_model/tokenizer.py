"""
tokenizer.py: byte-level BPE, trained and applied by our own code.
Job      split text as the model family's pre-tokenizer does, learn merges, encode and decode.
Form     tokens are strings in GPT-2's byte alphabet, as GGUF files carry them: the 256 bytes
         first, then one token a merge, then the control tokens.
Needs    the `regex` module (Debian: python3-regex) to split text; learning from a given table of
         pieces and decoding need the standard library only.
Source   Sennrich, Haddow, Birch 2016 (BPE); GPT-2's bytes_to_unicode; split patterns as published
         with Qwen2 and Llama 3.
"""

import heapq
from collections import Counter, defaultdict

NORMAL, CONTROL = 1, 3  # tokenizer.ggml.token_type

SPLIT_PATTERNS = {
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}

CHATML_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def byte_alphabet():
    """GPT-2's table of one printable character a byte; printable bytes stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table


BYTE_TO_CHAR = byte_alphabet()
CHAR_TO_BYTE = {char: byte for byte, char in BYTE_TO_CHAR.items()}
BYTE_TOKENS = sorted(BYTE_TO_CHAR.values())


def to_alphabet(text):
    return "".join(BYTE_TO_CHAR[byte] for byte in text.encode("utf-8"))


def split_text(text, pre="qwen2"):
    import regex

    return regex.findall(SPLIT_PATTERNS[pre], text)


def learn_merges(piece_counts, merge_count, token_bytes_max=12):
    """
    The `merge_count` most frequent pairs, one after another. `piece_counts` maps a piece of text to
    its weight. A tie goes to the pair that sorts first, so the result depends on the input alone.
    Tokens stop at `token_bytes_max` bytes: whole stock phrases as one token would leave
    nothing to generalise from.
    """
    words = [list(to_alphabet(piece)) for piece in sorted(piece_counts)]
    weights = [piece_counts[piece] for piece in sorted(piece_counts)]
    pair_weight, pair_words = Counter(), defaultdict(set)
    for index, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pair_weight[pair] += weights[index]
            pair_words[pair].add(index)
    heap = [(-weight, pair) for pair, weight in pair_weight.items()]
    heapq.heapify(heap)
    merges, known = [], set(BYTE_TOKENS)
    while heap and len(merges) < merge_count:
        negative_weight, pair = heapq.heappop(heap)
        if -negative_weight != pair_weight[pair] or negative_weight == 0:
            continue  # stale: the pair's weight has changed since it was pushed
        joined = pair[0] + pair[1]
        if len(joined) > token_bytes_max or joined in known:
            continue
        merges.append(pair)
        known.add(joined)
        changed = _apply_merge(pair, words, weights, pair_weight, pair_words)
        for touched in changed:
            if pair_weight[touched] > 0:
                heapq.heappush(heap, (-pair_weight[touched], touched))
    return merges


def _apply_merge(pair, words, weights, pair_weight, pair_words):
    """Join `pair` in every word that has it; returns the pairs whose weight changed."""
    changed = set()
    for index in sorted(pair_words[pair]):
        old = words[index]
        new = join_pair(old, pair)
        for gone in zip(old, old[1:]):
            pair_weight[gone] -= weights[index]
            changed.add(gone)
        for made in zip(new, new[1:]):
            pair_weight[made] += weights[index]
            pair_words[made].add(index)
            changed.add(made)
        words[index] = new
    pair_words[pair] = set()
    return sorted(changed)


def join_pair(symbols, pair):
    out, i = [], 0
    while i < len(symbols):
        if i + 1 < len(symbols) and (symbols[i], symbols[i + 1]) == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return out


class Tokenizer:
    """Vocabulary, merges and control tokens; `pre` names the split pattern."""

    def __init__(self, tokens, token_types, merges, pre):
        self.tokens, self.token_types, self.merges, self.pre = tokens, token_types, merges, pre
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.controls = [t for t, kind in zip(tokens, token_types) if kind == CONTROL]
        self._cache = {}

    @classmethod
    def from_merges(cls, merges, controls, pre="qwen2"):
        tokens = BYTE_TOKENS + [a + b for a, b in merges] + list(controls)
        types = [NORMAL] * (len(tokens) - len(controls)) + [CONTROL] * len(controls)
        return cls(tokens, types, list(merges), pre)

    def _encode_piece(self, piece):
        if piece not in self._cache:
            symbols = list(to_alphabet(piece))
            while len(symbols) > 1:
                best = min(zip(symbols, symbols[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
                if best not in self.ranks:
                    break
                symbols = join_pair(symbols, best)
            self._cache[piece] = [self.ids[s] for s in symbols]
        return self._cache[piece]

    def encode_plain(self, text):
        """Token ids of text in which control tokens mean nothing."""
        return [i for piece in split_text(text, self.pre) for i in self._encode_piece(piece)]

    def encode(self, text):
        """Token ids of text in which control tokens are recognised."""
        import regex

        out = []
        for part in regex.split("(" + "|".join(map(regex.escape, self.controls)) + ")", text):
            out += [self.ids[part]] if part in self.controls else self.encode_plain(part)
        return out

    def decode_bytes(self, ids):
        out = bytearray()
        for i in ids:
            token = self.tokens[i]
            if self.token_types[i] == CONTROL:
                out += token.encode("utf-8")
            else:
                out += bytes(CHAR_TO_BYTE[char] for char in token)
        return bytes(out)

    def decode(self, ids):
        return self.decode_bytes(ids).decode("utf-8", errors="replace")
