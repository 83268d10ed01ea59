"""The readable definition of the network: what the fast one is tested and timed against."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.data.stream import PAD
from conure_lib.models.convolution import KERNEL_SIZE
from conure_lib.models.layers import LAYER_NORM_EPS


class PlainNextItNet(nn.Module):
    """NextItNet as one would write it first: conv1d with explicit padding, one output layer.

    With ``last_only`` the output layer reads the last position, as in the paper. Without, logits
    are averaged over all positions, as in the most widely used public port, which like this class
    computes everything everywhere, keeps all logits and sorts the catalogue for each rank.
    """

    def __init__(self, n_items: int, width: int, dilations: tuple[int, ...], n_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_items + 1, width)
        self.dilations = [x for d in dilations for x in (d, 2 * d)]
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL_SIZE, dilation=d, bias=False) for d in self.dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, LAYER_NORM_EPS) for _ in self.dilations)
        self.output = nn.Linear(width, n_labels)
        self.adam = torch.optim.Adam(self.parameters())

    def forward(self, sequences: Tensor) -> Tensor:
        """Item ids [B, L] -> hidden vectors of every position [B, L, k]."""
        h = self.embedding(sequences)
        for block in range(0, len(self.convs), 2):
            inner = h
            for layer in (block, block + 1):
                x = F.relu(self.norms[layer](inner)).transpose(1, 2)
                x = F.pad(x, (2 * self.dilations[layer], 0))
                inner = self.convs[layer](x).transpose(1, 2)
            h = h + inner
        return h

    def scores(self, sequences: Tensor, last_only: bool) -> Tensor:
        """Return the scores of all labels for each sequence, [B, n_labels]."""
        hidden = self(sequences)
        return self.output(hidden[:, -1]) if last_only else self.output(hidden).mean(1)

    def next_item_loss(self, sequences: Tensor) -> Tensor:
        """Return the mean cross-entropy over all items that follow an item (T1's loss)."""
        inputs = sequences[:, :-1]
        targets = (sequences[:, 1:] - 1).masked_fill(inputs == PAD, -1)
        logits = self.output(self(inputs))
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)

    def label_loss(self, sequences: Tensor, labels: Tensor, last_only: bool) -> Tensor:
        """Return the mean cross-entropy of one label [B] per sequence."""
        return F.cross_entropy(self.scores(sequences, last_only), labels)

    def learn(self, loss: Tensor) -> None:
        """Take one step of default Adam on every parameter."""
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    @torch.no_grad()
    def ranks(self, sequences: Tensor, labels: Tensor, last_only: bool) -> Tensor:
        """Return each label's rank (1 is the best) in a sort of all scores: int64 [B]."""
        order = self.scores(sequences, last_only).argsort(1, descending=True)
        return (order == labels[:, None]).nonzero()[:, 1] + 1
