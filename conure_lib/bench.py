"""Speed of the library against a plain reference of our own: the same work, threads and process, by turns."""

import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from . import paths
from .config import ModelConfig, TrainConfig
from .evaluate import exact_ranks
from .layers import LAYER_NORM_EPS, TAPS
from .losses import LogUniformSampler, PopularitySampler, bpr_loss, sampled_softmax_loss, softmax_loss
from .model import UserModel
from .optim import fresh_optimizers
from .ownership import ContinualModel, to_bit_planes
from .stages import environment


@dataclass(frozen=True)
class Size:
    """A size at which the work is measured; the paper's TTL network is close to B."""

    name: str
    width: int
    dilations: tuple[int, ...]
    length: int
    items: int
    labels: int


A = Size("a", 64, (1, 4) * 2, 30, 1_700, 1_400)
B = Size("b", 256, (1, 4) * 4, 100, 50_000, 17_000)
LARGE_CATALOGUE = 646_000  # items of TTL
NEGATIVES = 0.2
SETTINGS = TrainConfig(loss="sampled-softmax", table_updates="rows")


class Plain(nn.Module):
    """What public ports do: conv1d with explicit padding, all positions, all logits kept for the loss."""

    def __init__(self, size: Size, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(size.items + 1, size.width)
        self.steps = [x for d in size.dilations for x in (d, 2 * d)]
        self.convs = nn.ModuleList(nn.Conv1d(size.width, size.width, TAPS, dilation=d) for d in self.steps)
        self.norms = nn.ModuleList(nn.LayerNorm(size.width, eps=LAYER_NORM_EPS) for _ in self.steps)
        self.output = nn.Linear(size.width, outputs)
        self.adam = torch.optim.Adam(self.parameters())

    def forward(self, sequences: Tensor) -> Tensor:
        h = self.embedding(sequences)
        for first in range(0, len(self.convs), 2):
            inner = h
            for layer in (first, first + 1):
                x = F.relu(self.norms[layer](inner)).transpose(1, 2)
                inner = self.convs[layer](F.pad(x, (2 * self.steps[layer], 0))).transpose(1, 2)
            h = h + inner
        return h

    def learn(self, loss: Tensor) -> None:
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


def run_bench(rounds: int) -> None:
    """Prints and writes results/bench/bench.json: per part the median ratio of ``rounds`` interleaved rounds."""
    torch.manual_seed(0)
    rows: dict[str, dict] = {}
    for name, ours, plain in _parts():
        pairs = []
        for number in tqdm(range(rounds + 1), desc=name, leave=False):
            pair = _seconds(ours), _seconds(plain)
            if number:  # the first round warms up
                pairs.append(pair)
        rows[name] = {
            "ours_ms": round(1000 * statistics.median(a for a, _ in pairs), 2),
            "plain_ms": round(1000 * statistics.median(b for _, b in pairs), 2),
            "ratio": round(statistics.median(b / a for a, b in pairs), 2),
        }
        print(f"{name:58} {rows[name]['ratio']:7.2f} x   {rows[name]['ours_ms']:10.2f} ms", flush=True)
    single = {
        "backbone": _backbone(rounds),
        "ownership": _ownership(),
        "large catalogue": _large_catalogue(rounds),
    }
    for name, facts in single.items():
        print(f"{name}: {facts}", flush=True)
    head = {"rounds": rounds, "threads": torch.get_num_threads(), "environment": environment()}
    folder = paths.bench()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps({"parts": rows, **single, **head}, indent=1) + "\n")


def _parts() -> Iterator[tuple[str, Callable[[], None], Callable[[], None]]]:
    """Name, ours, plain reference; models live only while their part is measured."""
    yield from _t1(A, 512, sampled=False)
    yield from _t1(B, 32, sampled=False)
    yield from _t1(B, 32, sampled=True)
    for size, batch in ((A, 512), (B, 32)):
        for share in (1.0, 0.5):
            yield from _t2(size, batch, share)
    for size, labels in ((A, 1), (B, 1), (B, 3)):
        yield from _evaluation(size, labels)


def _model(size: Size, task: str, kind: str, n: int) -> UserModel:
    generator = torch.Generator().manual_seed(0)
    model = UserModel(ModelConfig(size.width, size.dilations), size.items, generator)
    model.add_output(task, n, kind, generator)
    return model


def _t1(size: Size, batch: int, sampled: bool) -> Iterator[tuple]:
    model, plain = _model(size, "T1", "sequence", size.items), Plain(size, size.items)
    learn = _t1_learner(model, size, sampled)
    sequences = torch.randint(1, size.items + 1, (batch, size.length))

    def reference() -> None:
        logits = plain.output(plain(sequences[:, :-1]))
        plain.learn(F.cross_entropy(logits.flatten(0, 1), (sequences[:, 1:] - 1).flatten()))

    kind = f"sampled softmax ({NEGATIVES:.0%})" if sampled else "full softmax"
    yield f"({size.name}) T1 step, {kind}, batch {batch}", lambda: learn(sequences), reference


def _t1_learner(model: UserModel, size: Size, sampled: bool) -> Callable[[Tensor], None]:
    """A T1 step as ``train.epochs`` makes it, on one batch [B, L]."""
    layer = model.outputs["T1"]
    tables = [model.embedding, layer.weight] if sampled else []
    model.sparse_embedding = sampled
    optimizers = fresh_optimizers(SETTINGS, list(model.parameters()), tables)
    sampler = LogUniformSampler(np.arange(size.items)[::-1].copy(), round(NEGATIVES * size.items))
    generator = torch.Generator().manual_seed(0)

    def learn(sequences: Tensor) -> None:
        vectors = model.hidden(sequences[:, :-1]).flatten(0, 1)
        targets = (sequences[:, 1:].t() - 1).flatten()
        if sampled:
            args = vectors, layer.weight, layer.bias, targets, sampler.draw(generator), sampler.log_expected
            loss = sampled_softmax_loss(*args, rows_only=True)
        else:
            loss = softmax_loss(vectors, layer.weight, layer.bias, targets)
        model.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()

    return learn


def _t2(size: Size, batch: int, distinct: float) -> Iterator[tuple]:
    """The plain reference computes every instance at every position and trains everything on a full softmax."""
    learner, plain = ContinualModel(_model(size, "T1", "ranking", 2)), Plain(size, size.labels)
    generator = torch.Generator().manual_seed(0)
    learner.start("T1", 2, "ranking", generator)
    learner.prune(0.7)
    learner.finish()
    learner.start("T2", size.labels, "ranking", generator)
    model, masks = learner.model, learner.trainable()
    layer, parameters = model.outputs["T2"], dict(model.named_parameters())
    model.requires_grad_(False)
    (optimizer,) = fresh_optimizers(SETTINGS, [parameters[n].requires_grad_() for n in masks], [])
    users = torch.randint(round(batch * distinct), (batch,)) if distinct < 1 else torch.arange(batch)
    sequences = torch.randint(1, size.items + 1, (round(batch * distinct), size.length))
    labels = torch.randint(size.labels, (batch,))
    popular = PopularitySampler(np.arange(size.labels)[::-1].copy(), 0.3)

    def ours() -> None:
        present, index = users.unique(return_inverse=True)
        vectors = model.user_vectors(sequences[present])[index]
        model.zero_grad(set_to_none=True)
        bpr_loss(vectors, layer.weight, labels, popular.draw(labels, generator)).backward()
        for name, mask in masks.items():
            if mask is not None:
                parameters[name].grad.mul_(mask)
        optimizer.step()

    def reference() -> None:
        plain.learn(F.cross_entropy(plain.output(plain(sequences[users])[:, -1]), labels))

    who = "distinct users" if distinct == 1 else f"{distinct:.0%} distinct users"
    yield f"({size.name}) T2 step, {who}, batch {batch}", ours, reference


def _evaluation(size: Size, labels_per_user: int) -> Iterator[tuple]:
    users = 64 if size is B else 512
    model, plain = _model(size, "T2", "ranking", size.items), Plain(size, size.items)
    sequences = torch.randint(1, size.items + 1, (users, size.length))
    index = torch.arange(users).repeat_interleave(labels_per_user)
    labels = torch.randint(size.items, (len(index),))

    @torch.no_grad()
    def ours() -> None:
        exact_ranks(model.outputs["T2"], model.user_vectors(sequences), index, labels)

    @torch.no_grad()
    def reference() -> None:
        for rows in torch.arange(len(index)).split(users):
            order = plain.output(plain(sequences[index[rows]])[:, -1]).argsort(1, descending=True)
            (order == labels[rows, None]).nonzero()

    yield f"({size.name}) evaluation, {labels_per_user} label(s) a user", ours, reference


def _backbone(rounds: int) -> dict:
    """GFLOP/s of the convolutions, forward and backward, against a large matrix product in the same run."""
    model, batch = _model(B, "T1", "ranking", 2), 32
    sequences = torch.randint(1, B.items + 1, (batch, B.length))
    flop = 3 * 2 * 2 * len(B.dilations) * TAPS * B.width**2 * batch * B.length
    left, right = torch.randn(batch * B.length, B.width), torch.randn(B.width, B.width)
    whole, product = [], []
    for _ in range(rounds + 1):
        product.append(_seconds(lambda: [left @ right for _ in range(50)]))
        whole.append(_seconds(lambda: model.hidden(sequences).sum().backward()))
    peak = 50 * 2 * left.numel() * B.width / statistics.median(product) / 1e9
    reached = flop / statistics.median(whole) / 1e9
    return {"gflops": round(reached), "gemm_gflops": round(peak), "share": round(reached / peak, 2)}


def _ownership() -> dict:
    """Bits a weight that the owner maps of six tasks take on disk, and the entropy of the owners."""
    shares = np.array([0.326712, 0.3, 0.14, 0.056, 0.1008, 0.04032, 0.036288])
    planes = to_bit_planes(torch.zeros(TAPS, B.width, B.width, dtype=torch.uint8), len(shares).bit_length())
    bits = 8 * planes.numel() / (TAPS * B.width**2)
    return {"bits_per_weight": round(bits, 3), "entropy": round(float(-(shares * np.log2(shares)).sum()), 3)}


def _large_catalogue(rounds: int) -> dict:
    """A sampled T1 step of batch 32 over TTL's catalogue: seconds, and the peak memory of this process."""
    size = Size("large", B.width, B.dilations, B.length, LARGE_CATALOGUE, 2)
    learn = _t1_learner(_model(size, "T1", "sequence", size.items), size, sampled=True)
    sequences = torch.randint(1, size.items + 1, (32, size.length))
    seconds = [_seconds(lambda: learn(sequences)) for _ in range(max(2, rounds // 2))]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {"step_s": round(statistics.median(seconds[1:]), 2), "peak_gib": round(peak, 2)}


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
