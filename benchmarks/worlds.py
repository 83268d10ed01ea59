"""What the benchmark learns from: sizes, and streams of random arrays at any size."""

from dataclasses import dataclass

import numpy as np

from conure_lib.data.stream import PAD, TRAIN, Task, TaskStream


@dataclass(frozen=True)
class Size:
    """A size at which work is measured. steps: how many make one timed call; users: of one evaluation."""

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
    """Size (a), size (b), the largest catalogue's items, and products [m, k] x [k, n] to find the peak by."""

    a: Size
    b: Size
    large: int
    products: tuple[tuple[int, int, int], ...]


FULL = Sizes(
    Size("a", 64, (1, 4) * 2, 30, 1_700, 1_400, steps=4, users=512),
    Size("b", 256, (1, 4) * 4, 100, 50_000, 17_000, steps=1, users=64),
    large=646_000,
    products=((2048, 2048, 2048), (4096, 1024, 1024), (8192, 512, 512), (3168, 256, 256)),
)
"""(b) is close to the paper's network for TTL, whose catalogue is the large one."""

TOY = Sizes(
    Size("a", 8, (1,), 6, 300, 40, steps=2, users=16),
    Size("b", 16, (1, 4), 12, 500, 60, steps=1, users=8),
    large=800,
    products=((64, 64, 64),),
)
"""For a first look: everything runs, and no number means anything."""


def random_stream(
    users: int,
    length: int,
    items: int,
    labels: int,
    per_user: int = 1,
    half_full: bool = False,
    part: int = TRAIN,
) -> TaskStream:
    """T1 with one sequence a user, and T2, a ranking task with ``per_user`` different labels a user.

    half_full: lengths are uniform from 2 to ``length``, so half of the positions are padding. part: which one
    all instances belong to. The same for the same arguments.
    """
    rng = np.random.default_rng(0)
    sequences = rng.integers(1, items + 1, (users, length), dtype=np.int32)
    if half_full:
        known = rng.integers(2, length + 1, users)
        sequences[np.arange(length) < length - known[:, None]] = PAD
    everyone, last = np.arange(users), sequences[:, -1].astype(np.int64) - 1
    first = rng.integers(labels, size=users)
    owners, chosen = (
        everyone.repeat(per_user),
        (first[:, None] + np.arange(per_user)).ravel() % labels,
    )
    tasks = (
        Task(
            "T1", "sequence", "random items", everyone, last, items, np.full(users, part, np.uint8)
        ),
        Task(
            "T2",
            "ranking",
            "random labels",
            owners,
            chosen,
            labels,
            np.full(len(owners), part, np.uint8),
        ),
    )
    return TaskStream("bench", sequences, everyone, items, tasks)
