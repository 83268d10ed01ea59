"""One point of a sweep in a process of its own: python -m benchmarks.point, JSON in, JSON out.

Of its own so that the peak memory is the point's.
"""

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from benchmarks.measure import peak_gib, seconds
from benchmarks.parts import DENSE, SAMPLED, learn_untrained, trainer
from benchmarks.worlds import random_stream
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import TEST, TRAIN, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.evaluation import evaluate

WorkName = Literal["T1 epoch", "T2+ epoch", "evaluation"]
ENOUGH, MOST_CALLS = 1.0, 20  # seconds of timed calls, after a first one that sets up and warms up


@dataclass(frozen=True)
class Point:
    """Where the work is measured. depth: pairs of convolutions; tasks: how many are learned before.

    items: of the catalogue, and as many labels has the later task. most_steps: batches to measure; the time
    of an epoch is scaled up from them.
    """

    work: WorkName
    users: int
    items: int
    width: int
    depth: int
    length: int
    tasks: int
    batch: int
    most_steps: int
    threads: int


def measure(point: Point) -> dict[str, float]:
    """seconds of an epoch (or of one evaluation of all users), peak_gib, imports_gib, measured_steps.

    Each user has one instance. Those beyond ``most_steps`` batches lie in memory, but in another part.
    """
    imports = peak_gib()
    torch.set_num_threads(point.threads)
    measured = min(-(-point.users // point.batch), point.most_steps)
    instances = min(point.users, measured * point.batch)
    stream = random_stream(point.users, point.length, point.items, point.items)
    call = _call(point, stream, instances)
    call()
    spent = [seconds(call)]
    while sum(spent) < ENOUGH and len(spent) < MOST_CALLS:
        spent.append(seconds(call))
    return {
        "seconds": statistics.median(spent) * point.users / instances,
        "peak_gib": peak_gib(),
        "imports_gib": imports,
        "measured_steps": measured,
    }


def _call(point: Point, stream: TaskStream, instances: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    dilations = ((1, 4) * point.depth)[: point.depth]
    learner = ContinualModel(UserModel(ModelConfig(point.width, dilations), point.items, generator))
    sequence = point.work == "T1 epoch"
    learn_untrained(learner, 0 if sequence else point.tasks, point.items)
    part = TEST if point.work == "evaluation" else TRAIN
    task = _limited(stream["T1" if sequence else "T2"], part, instances)
    task = replace(task, name=f"T{len(learner.tasks) + 1}")
    stream = replace(stream, tasks=(task,) if sequence else (stream["T1"], task))
    learner.start(task.name, task.n_labels, task.kind, generator)
    if part == TEST:
        return lambda: evaluate(learner.for_task(task.name), stream, task, part)
    settings: TrainConfig = replace(SAMPLED if sequence else DENSE, batch_size=point.batch)
    return trainer(learner.model, stream, task, settings, learner.trainable())


def _limited(task: Task, part: int, instances: int) -> Task:
    """The task with ``instances`` random rows in one part, the others in another."""
    split = np.full(len(task.users), TRAIN if part == TEST else TEST, np.uint8)
    split[np.random.default_rng(1).permutation(len(split))[:instances]] = part
    return replace(task, split=split)


if __name__ == "__main__":
    print(json.dumps(measure(Point(**json.load(sys.stdin)))))
