"""Causal attention: multi-query with learned positions elsewhere (StarCoder; Shazeer, "Fast Transformer Decoding", 2019), or
with as many heads of keys and values (H3's hybrids)."""
import torch.nn.functional as F
from torch import Tensor, nn

from decoder import Linear, Size, residual_scale

# Whether heads that share keys and values are given copies of them, where attention cannot read one for all.
COPIED = False


class Attention(nn.Module):
    by_channel = False

    def __init__(self, size: Size, kv_heads: int):
        super().__init__()
        self.heads, self.kv_heads, self.head_size = size.heads, kv_heads, size.width // size.heads
        # Rows of all queries, then of keys, then of values.
        self.inputs = Linear(size.width, (size.heads + 2 * kv_heads) * self.head_size)
        self.out = Linear(size.width, size.width, residual_scale(size))
        self.inputs.weight.parts = [size.width, kv_heads * self.head_size, kv_heads * self.head_size]

    def mix(self, p: Tensor) -> Tensor:
        batch, length, _ = p.shape
        heads = p.view(batch, length, -1, self.head_size).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], dim=1)
        if self.kv_heads < self.heads:
            k, v = k.expand(q.shape), v.expand(q.shape)
            if COPIED:
                k, v = k.contiguous(), v.contiguous()
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
