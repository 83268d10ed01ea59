"""What each single trick brings: the library with it against the library, or plain PyTorch, without it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from unittest import mock

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.parts import DENSE, SAMPLED, Call, evaluation, new_model, second, trainer
from benchmarks.worlds import Size, Sizes, random_stream
from conure_lib.config import TrainConfig
from conure_lib.models import padding
from conure_lib.training import batches as steps
from conure_lib.training.evaluation import exact_ranks
from conure_lib.training.losses import sampled_softmax_loss, softmax_loss
from conure_lib.training.optimizers import fresh_optimizers
from conure_lib.training.samplers import LogUniformSampler


@dataclass(frozen=True)
class Trick:
    """A row: the work with the trick and without it."""

    name: str
    build: Callable[[], tuple[Call, Call]]


def tricks(sizes: Sizes) -> list[Trick]:
    """All rows. Batches as in the parts."""
    a, b = sizes.a, sizes.b
    return [
        Trick("(b) softmax in chunks, gradient in the same pass", lambda: _chunked(b)),
        Trick("(b) sampled softmax 20%, shared negatives", lambda: _sampled(b)),
        Trick("646,000 items: updates of the rows that a step used", lambda: _rows(b, sizes.large)),
        Trick("(b) products in bfloat16, T2+ step", lambda: (_t2(b, 32, "bfloat16"), _t2(b, 32))),
        Trick("(a) receptive cone", lambda: _cone(a, 512)),
        Trick("(b) receptive cone", lambda: _cone(b, 32)),
        Trick("(b) pieces of a batch, T2+, batch 256", lambda: _pieces(_t2(b, 256))),
        Trick(
            "(b) pieces of an evaluation, 256 users",
            lambda: _pieces(evaluation(replace(b, users=256)).ours),
        ),
        Trick("(a) shared padding, T1, half-full", lambda: _padding(lambda: _t1(a, 512))),
        Trick(
            "(a) shared padding, T2+, half-full",
            lambda: _padding(lambda: _t2(a, 512, half_full=True)),
        ),
        Trick(
            "(b) shared padding, T1 sampled, half-full",
            lambda: _padding(lambda: _t1(b, 32, SAMPLED)),
        ),
        Trick(
            "(b) shared padding, T2+, half-full",
            lambda: _padding(lambda: _t2(b, 32, half_full=True)),
        ),
        Trick("(b) one vector for three labels of a user", lambda: _distinct(b)),
        Trick("(b) scores counted instead of sorted", lambda: _ranks(b)),
    ]


def _loss_inputs(size: Size) -> tuple[torch.Tensor, ...]:
    rows = 32 * (size.length - 1)
    vectors, weight = torch.randn(rows, size.width), torch.randn(size.items, size.width).mul_(0.01)
    targets = torch.randint(size.items, (rows,))
    return (
        vectors.requires_grad_(),
        weight.requires_grad_(),
        torch.zeros(size.items, requires_grad=True),
        targets,
    )


def _chunked(size: Size) -> tuple[Call, Call]:
    vectors, weight, bias, targets = _loss_inputs(size)
    return (
        lambda: torch.autograd.grad(
            softmax_loss(vectors, weight, bias, targets), (vectors, weight, bias)
        ),
        lambda: torch.autograd.grad(
            F.cross_entropy(F.linear(vectors, weight, bias), targets), (vectors, weight, bias)
        ),
    )


def _sampled(size: Size) -> tuple[Call, Call]:
    vectors, weight, bias, targets = _loss_inputs(size)
    sampler = LogUniformSampler(np.arange(size.items)[::-1].copy(), round(0.2 * size.items))
    generator = torch.Generator().manual_seed(0)

    def sampled() -> None:
        given = (vectors, weight, bias, targets, sampler.draw(generator), sampler.log_expected)
        torch.autograd.grad(sampled_softmax_loss(*given), (vectors, weight, bias))

    full = (vectors, weight, bias)
    return sampled, lambda: torch.autograd.grad(softmax_loss(*full, targets), full)


def _rows(size: Size, items: int) -> tuple[Call, Call]:
    """The optimiser alone, on an embedding of which a step used one row for each position of 32 sequences."""
    used = torch.randint(items, (1, 32 * (size.length - 1)))
    slopes = torch.randn(used.shape[1], size.width)
    by_rows, dense = (torch.zeros(items, size.width, requires_grad=True) for _ in range(2))
    by_rows.grad = torch.sparse_coo_tensor(used, slopes, by_rows.shape, check_invariants=False)
    dense.grad = by_rows.grad.to_dense()
    of_whole_tables, of_rows = fresh_optimizers(SAMPLED, [dense, by_rows], [by_rows])
    return of_rows.step, of_whole_tables.step


def _cone(size: Size, batch: int) -> tuple[Call, Call]:
    model = new_model(size, "T2", "ranking", 2)
    items = torch.from_numpy(random_stream(batch, size.length, size.items, 2).sequences).long()
    slope = torch.randn(batch, size.width)
    return lambda: model.last_hidden(items).backward(slope), lambda: model.hidden(items)[
        -1
    ].backward(slope)


def _pieces(call: Call) -> tuple[Call, Call]:
    return call, _with(padding, "CACHED_ELEMENTS", 1 << 40, call)


def _padding(learn: Callable[[], Call]) -> tuple[Call, Call]:
    """Without: every position of every sequence, padding included."""

    def computed(lengths: np.ndarray, at_most: int) -> Iterator[list[padding.Group]]:
        return padding.pieces(np.zeros_like(lengths), at_most)

    return learn(), _with(steps, "pieces", computed, learn())


def _distinct(size: Size) -> tuple[Call, Call]:
    model = new_model(size, "T2", "ranking", 2)
    items = torch.from_numpy(random_stream(11, size.length, size.items, 2).sequences).long()
    index = torch.arange(11).repeat_interleave(3)
    slope = torch.randn(33, size.width)
    return (
        lambda: model.user_vectors(items)[index].backward(slope),
        lambda: model.user_vectors(items[index]).backward(slope),
    )


def _ranks(size: Size) -> tuple[Call, Call]:
    layer = new_model(size, "T2", "ranking", size.items).outputs["T2"].requires_grad_(False)
    vectors, targets = torch.randn(64, size.width), torch.randint(size.items, (64,))

    def in_a_sort() -> None:
        (layer(vectors).argsort(1, descending=True) == targets[:, None]).nonzero()

    return lambda: exact_ranks(layer, vectors, torch.arange(64), targets), in_a_sort


def _t1(size: Size, batch: int, config: TrainConfig = DENSE) -> Call:
    """A half-full batch of T1."""
    stream = random_stream(batch, size.length, size.items, size.labels, half_full=True)
    model = new_model(size, "T1", "sequence", size.items)
    parameters = dict.fromkeys(dict(model.named_parameters()))
    return trainer(model, stream, stream["T1"], replace(config, batch_size=batch), parameters)


def _t2(size: Size, batch: int, precision: str = "float32", half_full: bool = False) -> Call:
    """A batch of the second task, on free kernels."""
    stream = random_stream(batch, size.length, size.items, size.labels, half_full=half_full)
    learner, config = second(size), replace(DENSE, batch_size=batch)
    return trainer(learner.model, stream, stream["T2"], config, learner.trainable(), precision)


def _with(module: object, name: str, value: object, call: Call) -> Call:
    """The call while the module's name has this value."""

    def changed() -> None:
        with mock.patch.object(module, name, value):
            call()

    return changed
