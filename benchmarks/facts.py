"""Facts that are no ratio: what six tasks take on disk, and a step over the largest catalogue."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from benchmarks.measure import child
from benchmarks.point import Point
from benchmarks.worlds import Size
from conure_lib.config import ModelConfig
from conure_lib.data.stream import Kind
from conure_lib.models.checkpoint import save_model
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.profiles import TTL_RATIOS

WANTED_GIB = 8e9 / 2**30  # peak memory of a step over the largest catalogue: below 8 GB
STEPS = 3


def checkpoint(size: Size) -> dict[str, float]:
    """Bytes of a saved model that learned six tasks with TTL's pruning ratios, and what its owner maps take.

    The maps' bytes are what saving the same model without them saves. entropy: of the owners, in bits a
    weight, the least that any code could take. float_mask_bytes: one float32 mask a task, not built.
    """
    learner = six_tasks(size)
    with tempfile.TemporaryDirectory() as folder:
        learner.save(Path(folder, "whole"))
        save_model(learner.model, Path(folder, "weights"))
        whole, weights = (
            sum(file.stat().st_size for file in Path(folder, name).iterdir())
            for name in ("whole", "weights")
        )
    owners = np.concatenate([owner.numpy().ravel() for owner in learner.owners.values()])
    shares = np.unique(owners, return_counts=True)[1] / len(owners)
    return {
        "bytes": whole,
        "owner_bytes": whole - weights,
        "owner_share": round((whole - weights) / whole, 4),
        "bits_per_weight": round(8 * (whole - weights) / len(owners), 3),
        "entropy": round(float(-(shares * np.log2(shares)).sum()), 3),
        "float_mask_bytes": 4 * len(learner.tasks) * len(owners),
    }


def six_tasks(size: Size) -> ContinualModel:
    """A network whose weights six tasks of TTL's shape took as if they had been trained, by TTL's ratios."""
    generator = torch.Generator().manual_seed(0)
    learner = ContinualModel(
        UserModel(ModelConfig(size.width, size.dilations), size.items, generator)
    )
    tasks: dict[str, tuple[int, Kind]] = {"T1": (size.items, "sequence")}
    tasks |= {name: (size.labels, "ranking") for name in ("T2", "T3")}
    tasks |= {
        name: (classes, "classification") for name, classes in (("T4", 8), ("T5", 2), ("T6", 6))
    }
    for name, (labels, kind) in tasks.items():
        learner.start(name, labels, kind, generator)
        learner.prune(TTL_RATIOS[name])
        learner.finish()
    return learner


def large_catalogue(size: Size, items: int, threads: int) -> dict[str, float | str]:
    """Seconds and peak memory of a sampled T1 step of batch 32 over ``items`` items, in a fresh process.

    The references would keep all logits of the batch and are not run.
    """
    batch = 32
    point = Point(
        "T1 epoch",
        STEPS * batch,
        items,
        size.width,
        len(size.dilations),
        size.length,
        0,
        batch,
        STEPS,
        threads,
    )
    found = child("point", request=asdict(point))
    logits = 4 * batch * (size.length - 1) * items / 2**30
    return {
        "items": items,
        "step_s": round(found["seconds"] / STEPS, 3),
        "peak_gib": round(found["peak_gib"], 2),
        "wanted_gib": round(WANTED_GIB, 2),
        "port": f"its logits alone would take {logits:.1f} GiB",
    }
