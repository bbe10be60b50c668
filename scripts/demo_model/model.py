"""
model.py: the demo model in PyTorch, a decoder of the `qwen2` GGUF architecture.
Shape    RMSNorm before each half-layer; q/k/v with bias; grouped-query attention; rotary positions
         that turn element i with i + size/2; SwiGLU; output tied to the embedding.
Names    tensors() gives the weights under the names llama.cpp uses for qwen2.
Never    trains, reads files, or keeps a KV cache: answers are short and the model is tiny.
"""

import torch
from torch import nn
from torch.nn import functional as F

SHAPE = {
    "vocab_count": 1536,
    "width": 128,
    "block_count": 5,
    "head_count": 4,
    "kv_head_count": 2,
    "head_width": 32,
    "ffn_width": 384,
    "context_length": 1024,
    "rms_epsilon": 1e-6,
    "rope_base": 10000.0,
}


class RMSNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight, self.epsilon = nn.Parameter(torch.ones(width)), epsilon

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon) * self.weight


def rotate(x, cos, sin):
    """x: (batch, heads, length, head width); cos, sin: (length, head width / 2)."""
    low, high = x.chunk(2, dim=-1)
    return torch.cat((low * cos - high * sin, low * sin + high * cos), dim=-1)


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv_heads = shape["head_count"], shape["kv_head_count"]
        self.size = shape["head_width"]
        width, ffn = shape["width"], shape["ffn_width"]
        self.attn_norm = RMSNorm(width, shape["rms_epsilon"])
        self.attn_q = nn.Linear(width, self.heads * self.size)
        self.attn_k = nn.Linear(width, self.kv_heads * self.size)
        self.attn_v = nn.Linear(width, self.kv_heads * self.size)
        self.attn_output = nn.Linear(self.heads * self.size, width, bias=False)
        self.ffn_norm = RMSNorm(width, shape["rms_epsilon"])
        self.ffn_gate = nn.Linear(width, ffn, bias=False)
        self.ffn_up = nn.Linear(width, ffn, bias=False)
        self.ffn_down = nn.Linear(ffn, width, bias=False)

    def forward(self, x, cos, sin, mask):
        batch, length, _ = x.shape
        group = self.heads // self.kv_heads
        h = self.attn_norm(x)
        q = self.attn_q(h).view(batch, length, self.heads, self.size).transpose(1, 2)
        k = self.attn_k(h).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        v = self.attn_v(h).view(batch, length, self.kv_heads, self.size).transpose(1, 2)
        q = rotate(q, cos, sin) * self.size**-0.5
        k = rotate(k, cos, sin).repeat_interleave(group, dim=1)
        v = v.repeat_interleave(group, dim=1)
        weights = torch.softmax(q @ k.transpose(-1, -2) + mask, dim=-1)
        h = (weights @ v).transpose(1, 2).reshape(batch, length, -1)
        x = x + self.attn_output(h)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class DemoModel(nn.Module):
    def __init__(self, shape=None):
        super().__init__()
        self.shape = dict(shape or SHAPE)
        self.token_embd = nn.Embedding(self.shape["vocab_count"], self.shape["width"])
        self.blk = nn.ModuleList(Block(self.shape) for _ in range(self.shape["block_count"]))
        self.output_norm = RMSNorm(self.shape["width"], self.shape["rms_epsilon"])
        self._initialise()
        steps = torch.arange(0, self.shape["head_width"], 2) / self.shape["head_width"]
        positions = torch.arange(self.shape["context_length"])
        angle = torch.outer(positions, self.shape["rope_base"] ** -steps)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def _initialise(self):
        depth_scale = (2 * self.shape["block_count"]) ** -0.5
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.dim() == 2:
                scale = weight.shape[1] ** -0.5
                if name.endswith(("attn_output.weight", "ffn_down.weight")):
                    scale *= depth_scale
                nn.init.normal_(weight, std=0.02 if name.startswith("token_embd") else scale)

    def forward(self, ids):
        """ids: (batch, length) to logits (batch, length, vocabulary)."""
        length = ids.shape[1]
        mask = torch.full((length, length), float("-inf")).triu(1)
        cos, sin = self.cos[:length], self.sin[:length]
        x = self.token_embd(ids)
        for block in self.blk:
            x = block(x, cos, sin, mask)
        return F.linear(self.output_norm(x), self.token_embd.weight)

    def tensors(self):
        """Weights as float32 arrays under GGUF names (blk.0.attn_q.weight and so on)."""
        return {name: weight.detach().numpy() for name, weight in self.named_parameters()}

    def round_to_f16(self):
        """Make the matrices what an F16 file holds, so that both answer alike."""
        with torch.no_grad():
            for weight in self.parameters():
                if weight.dim() == 2:
                    weight.copy_(weight.half().float())

    @torch.no_grad()
    def greedy(self, ids, end_id, count_max=160):
        """The most likely continuation of `ids`, up to `end_id`, which is left out."""
        ids, out = list(ids), []
        while len(out) < count_max and len(ids) < self.shape["context_length"]:
            best = int(self(torch.tensor([ids]))[0, -1].argmax())
            if best == end_id:
                break
            out.append(best)
            ids.append(best)
        return out
