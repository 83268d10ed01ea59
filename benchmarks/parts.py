"""The rows of the benchmark. A new row is one line in ``parts``, with a function here if its work is new."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from benchmarks.flops import backbone_flop, output_flop
from benchmarks.worlds import Size, Sizes, random_stream
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import PAD, TEST, Kind, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.models.reference import Plain
from conure_lib.training.evaluation import evaluate
from conure_lib.training.loop import epochs
from conure_lib.training.optimizers import Trainable

Call = Callable[[], object]
MOST_LOGIT_BYTES = 4 << 30  # a reference that would keep more is not run
SAME = "the same work as port"
ENDLESS = 1 << 30
DENSE = TrainConfig(epochs=ENDLESS)
SAMPLED = TrainConfig(epochs=ENDLESS, loss="sampled-softmax", negatives=0.2, table_updates="rows")


@dataclass(frozen=True)
class Work:
    """What a row measures. references: by name a call, or the reason why there is none.

    flop: operations of one call of ``ours``, its matrix products only. steps: of one call, of each of them.
    """

    ours: Call
    references: dict[str, Call | str]
    flop: float
    steps: int = 1


@dataclass(frozen=True)
class Part:
    """A row: its name, what builds its work, and the ratio to the port that is wanted, if one is."""

    name: str
    build: Callable[[], Work]
    target: float | None = None


def parts(sizes: Sizes) -> list[Part]:
    """All rows in the order in which they are measured."""
    a, b = sizes.a, sizes.b
    return [
        Part("(a) T1 step, full softmax, batch 512", partial(t1, a, 512), 1.5),
        Part("(a) T1 step, full softmax, batch 32", partial(t1, a, 32)),
        Part("(b) T1 step, full softmax, batch 32", partial(t1, b, 32), 1.7),
        Part("(b) T1 step, sampled softmax 20%, batch 32", partial(t1, b, 32, sampled=True), 4),
        Part("(a) T2+ step, distinct users, batch 512", partial(t2, a, 512), 4),
        Part("(b) T2+ step, distinct users, batch 32", partial(t2, b, 32), 5),
        Part("(a) T2+ step, users twice, batch 512", partial(t2, a, 512, per_user=2), 7),
        Part("(b) T2+ step, users twice, batch 32", partial(t2, b, 32, per_user=2), 7),
        Part("(a) T1 step, half-full, batch 512", partial(t1, a, 512, half_full=True), 2),
        Part("(a) T2+ step, half-full, batch 512", partial(t2, a, 512, half_full=True), 2),
        Part("(b) T2+ step, half-full, batch 32", partial(t2, b, 32, half_full=True), 2),
        Part("(a) evaluation, one label a user", partial(evaluation, a), 6),
        Part("(b) evaluation, one label a user", partial(evaluation, b), 15),
        Part("(b) evaluation, three labels a user", partial(evaluation, b, per_user=3), 40),
        Part("(b) backbone, batch 32", partial(backbone, b, 32)),
    ]


def t1(size: Size, batch: int, sampled: bool = False, half_full: bool = False) -> Work:
    """A step of T1; the references have no sampled softmax, so they compute the full one."""
    stream = random_stream(
        batch * size.steps, size.length, size.items, size.labels, half_full=half_full
    )
    model = new_model(size, "T1", "sequence", size.items)
    config = replace(SAMPLED if sampled else DENSE, batch_size=batch)
    plain = Plain(size.items, size.width, size.dilations, size.items)
    batches = [(items,) for items in torch.from_numpy(stream.sequences).long().split(batch)]
    known = (stream.sequences[:, :-1] != PAD).sum(1)
    outputs = round(config.negatives * size.items) if sampled else size.items
    port = partial(_each, lambda items: plain.learn(plain.next_item_loss(items)), batches)
    return Work(
        trainer(model, stream, stream["T1"], config, dict.fromkeys(dict(model.named_parameters()))),
        {"port": kept(port, batch * (size.length - 1) * size.items), "lean": SAME},
        backbone_flop(size, size.length - 1, known, last_only=False)
        + output_flop(size, int(known.sum()), outputs),
        size.steps,
    )


def t2(size: Size, batch: int, per_user: int = 1, half_full: bool = False) -> Work:
    """A step of the second task on free weights, with ``per_user`` labels of each user in the batch.

    The references compute a user as often as the batch has labels of it, and train everything.
    """
    users = batch * size.steps // per_user
    stream = random_stream(users, size.length, size.items, size.labels, per_user, half_full)
    task = stream["T2"]
    learner = second(size)
    config = replace(DENSE, batch_size=batch, labels_per_user=per_user)
    plain = Plain(size.items, size.width, size.dilations, size.labels)
    batches = instances(stream, task, batch)
    step = {
        lean: lambda items, labels, lean=lean: plain.learn(plain.label_loss(items, labels, lean))
        for lean in (False, True)
    }
    return Work(
        trainer(learner.model, stream, task, config, learner.trainable()),
        {
            "port": kept(partial(_each, step[False], batches), batch * size.length * size.labels),
            "lean": partial(_each, step[True], batches),
        },
        backbone_flop(
            size, size.length, (stream.sequences != PAD).sum(1), last_only=True, frozen_below=True
        ),
        size.steps,
    )


def evaluation(size: Size, per_user: int = 1) -> Work:
    """Ranks of ``per_user`` labels of each user among as many labels as there are items."""
    stream = random_stream(size.users, size.length, size.items, size.items, per_user, part=TEST)
    task = stream["T2"]
    model = new_model(size, "T2", "ranking", size.items).requires_grad_(False)
    plain = Plain(size.items, size.width, size.dilations, size.items)
    batches = instances(stream, task, size.users)
    ranks = {
        lean: lambda items, labels, lean=lean: plain.ranks(items, labels, lean)
        for lean in (False, True)
    }
    known = np.full(size.users, size.length)
    return Work(
        partial(evaluate, model, stream, task, TEST),
        {
            "port": kept(
                partial(_each, ranks[False], batches), size.users * size.length * size.items
            ),
            "lean": partial(_each, ranks[True], batches),
        },
        backbone_flop(size, size.length, known, last_only=True, train=False)
        + output_flop(size, size.users, size.items, train=False),
    )


def backbone(size: Size, batch: int) -> Work:
    """Forward and backward pass at all positions, without an output layer or an optimiser."""
    model = new_model(size, "T1", "ranking", 2)
    plain = Plain(size.items, size.width, size.dilations, 2)
    items = torch.from_numpy(random_stream(batch, size.length, size.items, 2).sequences).long()
    slope = torch.randn(size.length, batch, size.width)
    turned = slope.transpose(0, 1).contiguous()
    return Work(
        lambda: model.hidden(items).backward(slope),
        {"port": lambda: plain(items).backward(turned), "lean": SAME},
        backbone_flop(size, size.length, np.full(batch, size.length), last_only=False),
    )


def new_model(size: Size, task: str, kind: Kind, labels: int) -> UserModel:
    """A model of this size with one output layer."""
    generator = torch.Generator().manual_seed(0)
    model = UserModel(ModelConfig(size.width, size.dilations), size.items, generator)
    model.add_output(task, labels, kind, generator)
    return model


def second(size: Size) -> ContinualModel:
    """The second task begins: kernels that the first one left free, and an output layer."""
    learner = ContinualModel(new_model(size, "T1", "sequence", 2))
    learn_untrained(learner, 1, 2)
    learner.start("T2", size.labels, "ranking", torch.Generator().manual_seed(0))
    return learner


def learn_untrained(learner: ContinualModel, tasks: int, labels: int, ratio: float = 0.7) -> None:
    """The first ``tasks`` tasks take their weights as if they had been trained."""
    generator = torch.Generator().manual_seed(0)
    for number in range(1, tasks + 1):
        learner.start(f"T{number}", labels, "sequence" if number == 1 else "ranking", generator)
        learner.prune(ratio)
        learner.finish()


def trainer(
    model: UserModel,
    stream: TaskStream,
    task: Task,
    config: TrainConfig,
    trainable: Trainable,
    precision: str = "float32",
) -> Callable[[], float]:
    """A call that trains one more epoch by the library's own loop; the first one sets it up as well."""
    return partial(
        next, epochs(model, stream, task, config, trainable, seed=0, precision=precision)
    )


def instances(stream: TaskStream, task: Task, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Batches of (a sequence for each label, labels), as the references take them."""
    items = torch.from_numpy(stream.sequences[stream.input_rows[task.users]]).long()
    return list(zip(items.split(batch), torch.from_numpy(task.labels).split(batch), strict=True))


def kept(call: Call, logits: int) -> Call | str:
    """The call, or why it is left out: because of how many logits it keeps."""
    size = 4 * logits
    return (
        call if size <= MOST_LOGIT_BYTES else f"its logits alone would take {size / 2**30:.1f} GiB"
    )


def _each(step: Callable[..., object], batches: list[tuple]) -> None:
    for batch in batches:
        step(*batch)
