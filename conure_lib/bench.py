"""Speed of the library against a plain reference of our own: the same work, threads and process, by turns."""

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from . import paths
from .config import ModelConfig
from .evaluate import exact_ranks
from .losses import LogUniformSampler, sampled_softmax_loss, softmax_loss
from .model import LAYER_NORM_EPS, UserModel
from .stages import environment

WIDTH, DILATIONS, LENGTH, N_ITEMS, BATCH, USERS = 64, (1, 4, 1, 4), 30, 10_000, 128, 32
LABELS_PER_USER = 8


class PlainNextItNet(nn.Module):
    """What public ports do: conv1d with explicit padding, all positions, full logits kept for the loss."""

    def __init__(self, width: int, dilations: tuple[int, ...], n_items: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_items + 1, width)
        self.dilations = [x for d in dilations for x in (d, 2 * d)]
        self.convs = nn.ModuleList(nn.Conv1d(width, width, 3, dilation=d) for d in self.dilations)
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in self.dilations)
        self.output = nn.Linear(width, n_items)

    def forward(self, sequences: Tensor) -> Tensor:
        h = self.embedding(sequences)
        for first in range(0, len(self.convs), 2):
            inner = h
            for layer in (first, first + 1):
                x = F.relu(self.norms[layer](inner)).transpose(1, 2)
                inner = self.convs[layer](F.pad(x, (2 * self.dilations[layer], 0))).transpose(1, 2)
            h = h + inner
        return h


def run_bench(rounds: int) -> None:
    """Prints and writes results/bench/bench.json: per part of the work the median ratio of ``rounds`` rounds."""
    torch.manual_seed(0)
    ours = UserModel(ModelConfig(WIDTH, DILATIONS), N_ITEMS, torch.Generator().manual_seed(0))
    ours.add_output("T1", N_ITEMS, "sequence", torch.Generator().manual_seed(0))
    plain = PlainNextItNet(WIDTH, DILATIONS, N_ITEMS)
    sequences = torch.randint(1, N_ITEMS + 1, (BATCH, LENGTH))
    rows = {}
    for name, (fast, reference) in _parts(ours, plain, sequences).items():
        pairs = []
        fast(), reference()
        for _ in tqdm(range(rounds), desc=name, leave=False):
            pairs.append((_seconds(fast), _seconds(reference)))
        rows[name] = {
            "ours_ms": round(1000 * statistics.median(a for a, _ in pairs), 2),
            "plain_ms": round(1000 * statistics.median(b for _, b in pairs), 2),
            "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        }
        print(f"{name:48} {rows[name]['ratio']:6.2f} x   {rows[name]['ours_ms']:9.2f} ms")
    sizes = {"width": WIDTH, "dilations": DILATIONS, "length": LENGTH, "items": N_ITEMS, "batch": BATCH}
    result = {"parts": rows, "sizes": sizes, "rounds": rounds, "threads": torch.get_num_threads()}
    folder = paths.bench()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result | {"environment": environment()}, indent=1) + "\n")


def _parts(ours: UserModel, plain: PlainNextItNet, sequences: Tensor) -> dict[str, tuple[Callable, Callable]]:
    """Name -> (ours, plain reference)."""
    inputs, targets = sequences[:, :-1], sequences[:, 1:]
    layer = ours.outputs["T1"]
    sampler = LogUniformSampler(np.arange(N_ITEMS)[::-1].copy(), N_ITEMS // 5)
    generator = torch.Generator().manual_seed(0)
    adams = {m: torch.optim.Adam(m.parameters(), fused=m is ours) for m in (ours, plain)}
    kernels = list(ours.kernels().values())
    users = sequences[:USERS]
    many = users.repeat_interleave(LABELS_PER_USER, 0)
    labels = torch.randint(0, N_ITEMS, (len(many),))

    def step(model: nn.Module, loss: Tensor) -> None:
        adams[model].zero_grad(set_to_none=True)
        loss.backward()
        adams[model].step()

    def vectors() -> tuple[Tensor, Tensor]:
        return ours.hidden(inputs).flatten(0, 1), (targets.t() - 1).flatten()

    def full() -> None:
        v, y = vectors()
        step(ours, softmax_loss(v, layer.weight, layer.bias, y))

    def sampled() -> None:
        v, y = vectors()
        args = v, layer.weight, layer.bias, y, sampler.draw(generator), sampler.log_expected
        step(ours, sampled_softmax_loss(*args))

    def plain_t1() -> None:
        step(plain, F.cross_entropy(plain.output(plain(inputs)).flatten(0, 1), (targets - 1).flatten()))

    def t2() -> None:
        ours.requires_grad_(False)
        for kernel in kernels:
            kernel.requires_grad_()
        g = ours.user_vectors(users).repeat_interleave(LABELS_PER_USER, 0)
        (g * layer.weight[labels]).sum(1).sigmoid().log().mean().backward()
        ours.requires_grad_()

    def plain_t2() -> None:
        g = plain(many)[:, -1]
        (g * plain.output.weight[labels]).sum(1).sigmoid().log().mean().backward()

    @torch.no_grad()
    def rank() -> None:
        exact_ranks(layer, ours.last_hidden(inputs), torch.arange(BATCH), targets[:, -1] - 1)

    @torch.no_grad()
    def plain_rank() -> None:
        order = plain.output(plain(inputs)[:, -1]).argsort(1, descending=True)
        (order == targets[:, -1:] - 1).nonzero()

    return {
        "T1 step, full softmax": (full, plain_t1),
        "T1 step, sampled softmax (20%)": (sampled, plain_t1),
        f"T2 gradient, {LABELS_PER_USER} labels a user": (t2, plain_t2),
        "T1 evaluation, last position": (rank, plain_rank),
    }


def _seconds(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
