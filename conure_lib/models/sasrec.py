"""SASRec (ICDM 2018): self-attention over the items so far, and a point-wise feed-forward."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.config import ModelConfig
from conure_lib.models.backbone import UserModel
from conure_lib.models.layers import (
    LAYER_NORM_EPS,
    Patch,
    attention,
    attention_mask,
    begun,
    truncated_normal,
)


class Block(nn.Module):
    """h + attention(ln(h)), then h + relu(ln(h) W1) W2, without biases (ln has one)."""

    def __init__(self, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        self.norm2 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        for name, out in {"qkv": 3 * width, "out": width, "1": width, "2": width}.items():
            values = truncated_normal((width, out), generator)
            self.register_parameter(f"kernel_{name}", nn.Parameter(values))
        self.patch1: Patch | None = None
        self.patch2: Patch | None = None

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        """Return the block's outputs for h [B, L, k]; ``mask`` from ``attention_mask``."""
        x = self.norm1(h)
        y = attention(*(x @ self.kernel_qkv).chunk(3, 2), mask, self.heads) @ self.kernel_out
        h = h + (y if self.patch1 is None else self.patch1(y, x))
        x = self.norm2(h)
        y = F.relu(x @ self.kernel_1) @ self.kernel_2
        return h + (y if self.patch2 is None else self.patch2(y, x))


class SASRec(UserModel):
    """``config.layers`` blocks on embeddings of items and positions; no dropout, like NextItNet.

    Positions are counted from the end, so that it does not matter how far a user is padded.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__(config, n_items, generator)
        self.positions = nn.Parameter(truncated_normal((config.positions, config.width), generator))
        self.norm = nn.LayerNorm(config.width, eps=LAYER_NORM_EPS)

    def new_block(self, generator: torch.Generator) -> Block:
        """Return a block with random kernels."""
        return Block(self.config.width, self.config.heads, generator)

    def hidden(self, sequences: Tensor, prefix: int = 0, padding: None = None) -> Tensor:
        """Return the normalised outputs at every position from ``prefix`` on."""
        items = sequences[:, prefix:]
        back = torch.arange(items.shape[1] - 1, -1, -1, device=items.device)
        back = back.clamp(max=len(self.positions) - 1)
        h = self.embed(items) + self.positions.index_select(0, back)
        mask = attention_mask(begun(items))
        for block in self.blocks:
            h = block(h, mask)
        return self.norm(h).transpose(0, 1)
