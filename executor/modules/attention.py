"""What encoder and decoder blocks share: self-attention and an MLP of four times the width."""

from __future__ import annotations

__all__ = ["Attention"]

from torch import Tensor, nn
from torch.nn import functional

from chimera.executor.modules.linear import Linear
from chimera.pipeline.models.transformer import Transformer


class Attention(nn.Module):
    """The linear layers and norms of any block, and its self-attention; the order of both is the block's own."""

    causal: bool

    def __init__(self, config: Transformer) -> None:
        super().__init__()
        h = config.hidden
        self.heads = config.heads
        self.norm_attention, self.norm_mlp = nn.LayerNorm(h), nn.LayerNorm(h)
        self.qkv, self.projection = Linear(h, 3 * h), Linear(h, h)
        self.expand, self.contract = Linear(h, 4 * h), Linear(4 * h, h)

    def attend(self, x: Tensor) -> Tensor:
        """Self-attention: [B, S, hidden] -> [B, S, hidden]."""
        batch, sequence, hidden = x.shape
        qkv = self.qkv(x).view(batch, sequence, 3, self.heads, hidden // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.projection(mixed.transpose(1, 2).reshape(batch, sequence, hidden))  # type: ignore[no-any-return]

    def widen(self, x: Tensor) -> Tensor:
        """The MLP: [B, S, hidden] -> [B, S, hidden]."""
        return self.contract(functional.gelu(self.expand(x)))  # type: ignore[no-any-return]
