"""References of our own: what the public ports of the paper's network compute, without their code.

Two of them. "port" does what the most widely used port does: every position, the output layer at every
position, logits averaged over positions, a softmax over all labels whose logits are kept, dense default Adam
on everything, and a sort of the whole catalogue for each instance. "lean" is what a careful reader would
write: the same, but after T1 the output layer sees the last position only. In T1 they are the same work.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.data.stream import PAD
from conure_lib.models.layers import LAYER_NORM_EPS, TAPS

IGNORED = -1


class Plain(nn.Module):
    """NextItNet by conv1d with explicit padding, with one output layer."""

    def __init__(self, items: int, width: int, dilations: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(items + 1, width)
        self.steps = [x for d in dilations for x in (d, 2 * d)]
        self.convs = nn.ModuleList(nn.Conv1d(width, width, TAPS, dilation=d) for d in self.steps)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in self.steps)
        self.output = nn.Linear(width, outputs)
        self.adam = torch.optim.Adam(self.parameters())

    def forward(self, sequences: Tensor) -> Tensor:
        """Hidden vectors of every position: item ids [B, L] -> [B, L, k]."""
        h = self.embedding(sequences)
        for first in range(0, len(self.convs), 2):
            inner = h
            for layer in (first, first + 1):
                x = F.relu(self.norms[layer](inner)).transpose(1, 2)
                inner = self.convs[layer](F.pad(x, (2 * self.steps[layer], 0))).transpose(1, 2)
            h = h + inner
        return h

    def scores(self, sequences: Tensor, lean: bool) -> Tensor:
        """Scores of all labels for each sequence [B, n]: of the last position, or averaged over all."""
        hidden = self(sequences)
        return self.output(hidden[:, -1]) if lean else self.output(hidden).mean(1)

    def next_item_loss(self, sequences: Tensor) -> Tensor:
        """Mean cross-entropy over all items that follow an item, all logits at once [B, L - 1, n]."""
        inputs = sequences[:, :-1]
        targets = (sequences[:, 1:] - 1).masked_fill(inputs == PAD, IGNORED)
        logits = self.output(self(inputs))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)

    def label_loss(self, sequences: Tensor, labels: Tensor, lean: bool) -> Tensor:
        """Mean cross-entropy of one label [B] a sequence, the softmax over all labels."""
        return F.cross_entropy(self.scores(sequences, lean), labels)

    def learn(self, loss: Tensor) -> None:
        """One step of Adam on every parameter."""
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    @torch.no_grad()
    def ranks(self, sequences: Tensor, labels: Tensor, lean: bool) -> Tensor:
        """Each label's place (1 is the best) in a sort of all scores: int64 [B]."""
        order = self.scores(sequences, lean).argsort(1, descending=True)
        return (order == labels[:, None]).nonzero()[:, 1] + 1
