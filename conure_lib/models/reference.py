"""The readable definition of the network: what the fast one is tested and timed against."""

from torch import Tensor, nn
from torch.nn import functional as F

from conure_lib.models.convolution import KERNEL_SIZE
from conure_lib.models.layers import LAYER_NORM_EPS


class PlainNextItNet(nn.Module):
    """NextItNet as one would write it first: conv1d with explicit padding, one output layer."""

    def __init__(self, n_items: int, width: int, dilations: tuple[int, ...], n_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_items + 1, width)
        self.dilations = [x for d in dilations for x in (d, 2 * d)]
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, KERNEL_SIZE, dilation=d, bias=False) for d in self.dilations
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width, LAYER_NORM_EPS) for _ in self.dilations)
        self.output = nn.Linear(width, n_labels)

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
