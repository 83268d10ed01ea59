"""What is measured: sizes, random streams, and the rows of the speed table.

Two references, both by ``conure_lib.models.reference``. *Port* does what the most used public port
does: the output layer at every position with all logits kept, dense Adam, a full sort for every
instance. *Lean* reads the last position only, as a careful reader would write it. In T1 both do
the same work, and only *port* is measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import BLOCKS, PAD, TEST, TRAIN, Task, TaskStream
from conure_lib.models.nextitnet import NextItNet
from conure_lib.models.ownership import ContinualModel
from conure_lib.models.reference import PlainNextItNet
from conure_lib.study.profiles import study_config
from conure_lib.training.batches import Trainable, kind_of
from conure_lib.training.evaluation import evaluate
from conure_lib.training.loop import epochs

Call = Callable[[], object]
DENSE = TrainConfig(epochs=1 << 30)
SAMPLED = replace(DENSE, loss="sampled-softmax", negatives=0.2, table_updates="rows")


def _in_place_flop(_: object, left: list[int], right: list[int], **__: object) -> int:
    """Count a product that is added in place, which PyTorch's counter leaves out."""
    return 2 * left[0] * left[1] * right[1]


PRODUCTS = {torch.ops.aten.addmm_: _in_place_flop}


class Reference(PlainNextItNet):
    """The plain network with its training and evaluation: every logit kept, every rank sorted.

    With ``last_only`` the output layer reads the last position; else logits are averaged over all.
    """

    def __init__(self, *sizes) -> None:
        super().__init__(*sizes)
        self.adam = torch.optim.Adam(self.parameters())

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


@dataclass(frozen=True)
class Size:
    """A size of network and data; ``steps`` make one timed call, ``users`` one evaluation."""

    name: str
    width: int
    dilations: tuple[int, ...]
    length: int
    items: int
    labels: int
    steps: int
    users: int


@dataclass(frozen=True)
class Sizes:
    """Sizes (a) and (b), and the number of items of a catalogue of the paper's size."""

    a: Size
    b: Size
    catalogue: int


FULL = Sizes(
    Size("a", 64, (1, 4) * 2, 30, 1_700, 1_400, steps=4, users=512),
    Size("b", 256, (1, 4) * 4, 100, 50_000, 17_000, steps=1, users=64),
    catalogue=646_000,
)
"""(b) is close to the paper's network for TTL, whose catalogue has 646,000 items."""

TOY = Sizes(
    Size("a", 8, (1,), 6, 300, 40, steps=2, users=16),
    Size("b", 16, (1, 4), 12, 500, 60, steps=1, users=8),
    catalogue=800,
)
"""For tests: everything runs, and no number means anything."""


@dataclass(frozen=True)
class Work:
    """The work of one row: our call and the references' calls, all of so many ``steps``."""

    ours: Call
    references: dict[str, Call]
    steps: int = 1


@dataclass(frozen=True)
class Case:
    """A row: its name and what builds its work."""

    name: str
    build: Callable[[], Work]


def cases(sizes: Sizes) -> list[Case]:
    """List the rows against the references ``port`` and ``lean``; a new row is one line here."""
    a, b = sizes.a, sizes.b
    return [
        Case("(a) T1 step, full softmax, batch 512", partial(t1_step, a, 512)),
        Case("(a) T1 step, full softmax, batch 32", partial(t1_step, a, 32)),
        Case("(b) T1 step, full softmax, batch 32", partial(t1_step, b, 32)),
        Case("(b) T1 step, sampled softmax 20%, batch 32", partial(t1_step, b, 32, sampled=True)),
        Case("(a) T2+ step, distinct users, batch 512", partial(later_step, a, 512)),
        Case("(b) T2+ step, distinct users, batch 32", partial(later_step, b, 32)),
        Case("(a) T2+ step, users twice, batch 512", partial(later_step, a, 512, per_user=2)),
        Case("(b) T2+ step, users twice, batch 32", partial(later_step, b, 32, per_user=2)),
        Case("(a) T1 step, half-full, batch 512", partial(t1_step, a, 512, half_full=True)),
        Case("(a) T2+ step, half-full, batch 512", partial(later_step, a, 512, half_full=True)),
        Case("(b) T2+ step, half-full, batch 32", partial(later_step, b, 32, half_full=True)),
        Case("(a) evaluation, one label per user", partial(evaluation, a)),
        Case("(b) evaluation, one label per user", partial(evaluation, b)),
        Case("(b) evaluation, three labels per user", partial(evaluation, b, per_user=3)),
        Case("(b) backbone, batch 32", partial(backbone, b, 32)),
    ]


def random_stream(
    users: int,
    length: int,
    items: int,
    labels: int,
    per_user: int = 1,
    half_full: bool = False,
    part: int = TRAIN,
) -> TaskStream:
    """Draw T1, one sequence per user, and a ranking task T2, all instances in ``part``.

    ``per_user``: labels of each user in T2. ``half_full``: lengths are uniform from 2 to
    ``length``, so half of the positions are padding.
    """
    rng = np.random.default_rng(0)
    sequences = rng.integers(1, items + 1, (users, length), dtype=np.int32)
    if half_full:
        known = rng.integers(2, length + 1, users)
        sequences[np.arange(length) < length - known[:, None]] = PAD
    everyone, last = np.arange(users), sequences[:, -1].astype(np.int64) - 1
    owners, first = everyone.repeat(per_user), rng.integers(labels, size=users)
    chosen = (first[:, None] + np.arange(per_user)).ravel() % labels
    parts = np.full(BLOCKS + 1, part, np.uint8)  # of all blocks
    blocks = np.zeros(len(owners), np.uint8)
    t1 = Task("T1", "sequence", "items", everyone, last, items, blocks[:users], parts)
    t2 = Task("T2", "ranking", "labels", owners, chosen, labels, blocks, parts)
    return TaskStream("benchmark", sequences, everyone, items, (t1, t2))


def new_model(size: Size, task: str, labels: int) -> NextItNet:
    """Return a fresh network of this size with one output layer."""
    generator = torch.Generator().manual_seed(0)
    model = NextItNet(ModelConfig(size.width, size.dilations), size.items, generator)
    model.add_output(task, np.ones(labels), generator)
    return model


def own_untrained(learner: ContinualModel, tasks: dict[str, tuple[int, float]]) -> None:
    """Let tasks (labels, pruning ratio) take their weights as if they had been trained."""
    generator = torch.Generator().manual_seed(0)
    for name, (labels, ratio) in tasks.items():
        learner.start(name, np.ones(labels), generator)
        learner.prune(ratio)
        learner.finish()


def six_tasks(size: Size) -> ContinualModel:
    """Return a network owned by six tasks of TTL's shape, pruned as in the paper (section 6.1)."""
    learner = ContinualModel(new_model(size, "none", 2))
    labels = {"T1": size.items, "T2": size.labels, "T3": size.labels, "T4": 8, "T5": 2, "T6": 6}
    ratios = study_config("synthetic", "standard").prune
    own_untrained(learner, {name: (n, ratios[name]) for name, n in labels.items()})
    return learner


def trainer(
    model: NextItNet, stream: TaskStream, task: Task, config: TrainConfig, trainable: Trainable
) -> Call:
    """Return a call that trains one more epoch by the library's loop; the first one sets it up."""
    batches = kind_of(task, trainable)(model, stream, task, config, 0)
    return partial(next, epochs(batches, trainable))


def t1_step(size: Size, batch: int, sampled: bool = False, half_full: bool = False) -> Work:
    """Build a step of T1; the reference has no sampled softmax and computes the full one."""
    users = batch * size.steps
    stream = random_stream(users, size.length, size.items, size.labels, half_full=half_full)
    model = new_model(size, "T1", size.items)
    config = replace(SAMPLED if sampled else DENSE, batch_size=batch)
    ours = trainer(
        model, stream, stream["T1"], config, dict.fromkeys(dict(model.named_parameters()))
    )
    plain = Reference(size.items, size.width, size.dilations, size.items)
    batches = torch.from_numpy(stream.sequences).long().split(batch)

    def port() -> None:
        for items in batches:
            plain.learn(plain.next_item_loss(items))

    return Work(ours, {"port": port}, size.steps)


def later_step(size: Size, batch: int, per_user: int = 1, half_full: bool = False) -> Work:
    """Build a step of T2 on free weights, with ``per_user`` labels of each user in a batch.

    The references compute a user as often as the batch has labels of it, and train every weight.
    """
    users = batch * size.steps // per_user
    stream = random_stream(users, size.length, size.items, size.labels, per_user, half_full)
    learner = ContinualModel(new_model(size, "T1", 2))
    own_untrained(learner, {"T1": (2, 0.7)})
    learner.start("T2", np.ones(size.labels), torch.Generator().manual_seed(0))
    config = replace(DENSE, batch_size=batch, labels_per_user=per_user)
    ours = trainer(learner.model, stream, stream["T2"], config, learner.trainable())
    plain = Reference(size.items, size.width, size.dilations, size.labels)
    batches = _batches(stream, batch)

    def learn(lean: bool) -> None:
        for items, labels in batches:
            plain.learn(plain.label_loss(items, labels, lean))

    return Work(ours, {"port": partial(learn, False), "lean": partial(learn, True)}, size.steps)


def evaluation(size: Size, per_user: int = 1) -> Work:
    """Build the ranking of ``per_user`` labels per user, among as many labels as items."""
    stream = random_stream(size.users, size.length, size.items, size.items, per_user, part=TEST)
    model = new_model(size, "T2", size.items).requires_grad_(False)
    plain = Reference(size.items, size.width, size.dilations, size.items)
    batches = _batches(stream, size.users)

    def rank(lean: bool) -> None:
        for items, labels in batches:
            plain.ranks(items, labels, lean)

    ours = partial(evaluate, model, stream, stream["T2"], TEST)
    return Work(ours, {"port": partial(rank, False), "lean": partial(rank, True)})


def backbone(size: Size, batch: int) -> Work:
    """Build a forward and a backward pass at all positions, without output layer or optimiser."""
    model = new_model(size, "T1", 2)
    plain = Reference(size.items, size.width, size.dilations, 2)
    items = torch.from_numpy(random_stream(batch, size.length, size.items, 2).sequences).long()
    slope = torch.randn(size.length, batch, size.width)
    turned = slope.transpose(0, 1).contiguous()
    return Work(
        lambda: model.hidden(items).backward(slope), {"port": lambda: plain(items).backward(turned)}
    )


def _batches(stream: TaskStream, batch: int) -> list[tuple[Tensor, Tensor]]:
    """Return T2's batches of (a sequence for each label, labels), as the references take them."""
    task = stream["T2"]
    items = torch.from_numpy(stream.sequences[stream.input_rows[task.users]]).long()
    return list(zip(items.split(batch), torch.from_numpy(task.labels).split(batch), strict=True))
