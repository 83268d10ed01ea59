"""A recurrent backbone: residual GRU layers, and maybe DUPN's attention over their states."""

import torch
from torch import Tensor, nn

from conure_lib.config import ModelConfig
from conure_lib.models.backbone import UserModel
from conure_lib.models.layers import LAYER_NORM_EPS, Patch, attention, attention_mask, begun


class Block(nn.Module):
    """h + gru(ln(h)), with the gates of ``torch.nn.GRU`` (r, z, n) and without biases.

    So a state that starts at zero stays exactly zero as long as the input is, which it is at
    padding, and with kernels of zero for ever. ln's bias serves as the gates'.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=LAYER_NORM_EPS)
        bound = width**-0.5  # as in torch.nn.GRU
        for name in ("kernel_input", "kernel_state"):
            values = torch.empty(width, 3 * width).uniform_(-bound, bound, generator=generator)
            self.register_parameter(name, nn.Parameter(values))
        self.patch1: Patch | None = None

    def forward(self, h: Tensor, padding: Tensor) -> Tensor:
        """Return the layer's outputs for h [L, B, k]; ``padding`` [L, B, 1]: where that is."""
        x = self.norm1(h).masked_fill(padding, 0.0)
        state, states = torch.zeros_like(h[0]), []
        for inputs in (x.flatten(0, 1) @ self.kernel_input).view(*h.shape[:2], -1).unbind(0):
            reset_update, new = inputs.split((2 * h.shape[2], h.shape[2]), 1)
            from_state = state @ self.kernel_state
            gates = torch.sigmoid(reset_update + from_state[:, : reset_update.shape[1]])
            reset, update = gates.chunk(2, 1)
            new = torch.tanh(new + reset * from_state[:, reset_update.shape[1] :])
            state = torch.lerp(new, state, update)
            states.append(state)
        y = torch.stack(states)
        return h + (y if self.patch1 is None else self.patch1(y, x))


class GRU(UserModel):
    """``config.layers`` GRU layers; ``config.pooling``: read the last state, or all by attention.

    Attention: at each position softmax(h W h_s / sqrt(k)) over it and the ones before, s, so that
    T1 trains it as well.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__(config, n_items, generator)
        if config.pooling == "attention":  # W is zero at first: the mean of the states
            self.kernel_pooling = nn.Parameter(torch.zeros(config.width, config.width))

    def new_block(self, generator: torch.Generator) -> Block:
        """Return a GRU layer with random kernels."""
        return Block(self.config.width, generator)

    def hidden(self, sequences: Tensor, prefix: int = 0, padding: None = None) -> Tensor:
        """Return the states, or their means by attention, at every position from ``prefix`` on."""
        items = sequences[:, prefix:]
        known, h = begun(items), self.embed(items.t())
        for block in self.blocks:
            h = block(h, ~known.t()[:, :, None])
        if self.config.pooling == "last":
            return h
        h = h.transpose(0, 1).contiguous()  # else the product's kernel depends on what is frozen
        return attention(h @ self.kernel_pooling, h, h, attention_mask(known)).transpose(0, 1)
