"""Small streams, models and studies that several test files share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
from conure_lib.data.sources import synthetic
from conure_lib.data.stream import Task, TaskStream
from conure_lib.methods import ACTIONS
from conure_lib.methods.actions import Context, Outcome
from conure_lib.models import new_model
from conure_lib.models.backbone import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.models.reference import PlainNextItNet
from conure_lib.pipeline.store import ENVIRONMENT
from conure_lib.training.batches import WithT1

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"n_users": 60, "n_items": 64, "n_labels": 16, "length": 6, "clicks": 3.0}
RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.9, "T4": 0.8, "T5": 0.9, "T6": 0.9}
KINDS = {"T1": "sequence", "T2": "ranking", "T4": "classification"}
FAST = TrainConfig(2, 0.01, batch_size=32, labels_per_user=2, final_rate=0.0)

ROWS = {"loss": "sampled-softmax", "negatives": 0.3, "table_updates": "rows", "l2": 0.0}
NETWORKS = {
    "nextitnet": {},
    "gru": {"backbone": "gru"},
    "gru, attention": {"backbone": "gru", "pooling": "attention"},
    "sasrec": {"backbone": "sasrec", "heads": 2, "positions": 5},
}
"""Every backbone, as changes of a ModelConfig."""

WAYS = {name: {"optimizer": name, "l2": 0.02} for name in ("adam", "sgd")} | {"rows": ROWS}
"""Every way of updating parameters that the settings offer, as changes of a TrainConfig."""

STEPS = {
    "sequence": ("T1", FAST),
    "sampled": ("T1", replace(FAST, loss="sampled-softmax", negatives=0.3)),
    "by rows": ("T1", replace(FAST, **ROWS)),
    "ranking": ("T2", FAST),
    "BPR": ("T2", replace(FAST, loss="bpr")),
    "classification": ("T4", FAST),
    "joint": ("T2", FAST),
    "output-only": ("T4", FAST),
}
"""Every kind of training step, by task and settings; ``model_for`` makes the model."""


def text_of(name: str) -> str:
    """The text of a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_stream(**dials) -> TaskStream:
    return synthetic.build(**SMALL | dials)


def small_model(n_items=64, width=8, dilations=(1,), seed=0, **options) -> UserModel:
    return new_model(ModelConfig(width, tuple(dilations), **options), n_items, rng(seed))


def small_study(**changes) -> StudyConfig:
    study = StudyConfig(
        profile="smoke",
        data=DataConfig("synthetic", SMALL),
        model=ModelConfig(width=8, dilations=(1,)),
        train={"T1": FAST, "*": replace(FAST, l2=0.02)},
        retrain={"epochs": 1},
        prune={**RATIOS, "*": 0.9},
        seeds=(1,),
    )
    return replace(study, **changes)


def a_task(kind: str, users, labels, n_labels: int, split, name: str = "T2") -> Task:
    """A task of the parts TRAIN, VALIDATION, TEST and UNUSED in a stream as loaded."""
    arrays = (np.asarray(users, np.int64), np.asarray(labels, np.int64))
    return Task(name, kind, "toy", *arrays, n_labels, blocks_of(split))


def blocks_of(split) -> np.ndarray:
    """Blocks that belong to these parts for seed 1."""
    return np.array([19, 0, 2, 20], np.uint8)[np.asarray(split)]


def random_sequences(n: int, length: int, n_items: int, seed: int = 0) -> torch.Tensor:
    """Left-padded item ids, int64 [n, length]; each has two items at least where there is room."""
    sequences = torch.randint(1, n_items + 1, (n, length), generator=rng(seed))
    padding = torch.randint(0, max(1, length - 1), (n, 1), generator=rng(seed + 1))
    return sequences.masked_fill(torch.arange(length) < padding, 0)


def lively(model: torch.nn.Module, seed: int = 1) -> torch.nn.Module:
    """The same model with all parameters far from their initial values, LayerNorms too."""
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=rng(seed), dtype=p.dtype), alpha=0.3)
    return model


def with_outputs(stream: TaskStream, **options) -> UserModel:
    """A lively small model with an output layer for each task."""
    model = small_model(stream.n_items, **options)
    for task in stream.tasks:
        model.add_output(task.name, np.ones(task.n_labels), rng(2))
    return lively(model)


@torch.no_grad()
def plain_copy(model: UserModel, task: str) -> PlainNextItNet:
    """The plain network with a model's weights and one task's output layer."""
    layer, config = model.outputs[task], model.config
    plain = PlainNextItNet(model.n_items, config.width, config.dilations, len(layer.weight))
    plain.to(model.embedding.dtype).embedding.weight.copy_(model.embedding)
    for conv, kernel in zip(plain.convs, model.kernels().values(), strict=True):
        conv.weight.copy_(kernel.permute(2, 1, 0))
    norms = [norm for block in model.blocks for norm in (block.norm1, block.norm2)]
    for norm, ours in zip(plain.norms, norms, strict=True):
        norm.load_state_dict(ours.state_dict())
    plain.output.weight.copy_(layer.weight)
    plain.output.bias.copy_(layer.bias)
    return plain


def model_for(kind: str, stream: TaskStream, network: str = "nextitnet"):
    """A fresh model for a kind of step, the parameters that it trains, and the joint loss."""
    name, config = STEPS[kind]
    model = small_model(stream.n_items, **NETWORKS[network])
    joint = WithT1(stream["T1"], config, 0.5) if kind == "joint" else None
    for task in (stream[name], *([joint.task] if joint else [])):
        model.add_output(task.name, np.ones(task.n_labels), rng(5))
    names = [n for n, _ in model.named_parameters()]
    names = [n for n in names if kind != "output-only" or n.startswith("outputs.")]
    return model, dict.fromkeys(names), joint


def done(action: str, task: str, stream: TaskStream, study=None, parent=None, seed=1) -> Outcome:
    """The outcome of an action on a task of a stream, with the small study's settings or others."""
    study = study or small_study()
    return ACTIONS[action](Context(study, stream, stream[task], seed, parent, action))


def begin(learner: ContinualModel, task: str) -> None:
    """Start a task of 5 labels."""
    learner.start(task, np.ones(5), rng(len(learner.tasks)))


def disturb(learner: ContinualModel) -> None:
    """Add noise wherever the current stage may train, in place of training."""
    parameters = dict(learner.model.named_parameters())
    with torch.no_grad():
        for number, (name, mask) in enumerate(learner.trainable().items()):
            moved = parameters[name] + torch.randn(parameters[name].shape, generator=rng(number))
            changed = moved if mask is None else torch.where(mask, moved, parameters[name])
            parameters[name].copy_(changed)


def learn(learner: ContinualModel, task: str, ratio=0.5, embedding=None) -> None:
    """Start, prune and finish a task, with noise where training would be."""
    begin(learner, task)
    disturb(learner)
    learner.prune(ratio, embedding)
    with learner.only_owned():
        disturb(learner)
    learner.finish()


def learner_of(tasks=(), width=2, prunable=None, embedding=None, **options) -> ContinualModel:
    """A small continual model of 8 items that has learned these tasks."""
    learner = ContinualModel(lively(small_model(8, width, **options)), prunable)
    for task in tasks:
        learn(learner, task, embedding=embedding)
    return learner


@torch.no_grad()
def logits(model: UserModel, task: str, sequences: torch.Tensor) -> torch.Tensor:
    """A task's logits at the last position (T1: after all items but the last)."""
    is_first = task == "T1"
    read = model.last_hidden(sequences[:, :-1]) if is_first else model.user_vectors(sequences)
    return model.outputs[task](read)


def bytes_of(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()


def state_of(model: torch.nn.Module) -> dict[str, bytes]:
    return {name: bytes_of(parameter) for name, parameter in model.named_parameters()}


def owners_of(learner: ContinualModel) -> dict[str, bytes]:
    return {name: bytes_of(owner) for name, owner in learner.owners.items()}


@contextmanager
def refused(kind: type[Exception] | tuple, *words: object, most: int = 1000) -> Iterator[None]:
    """Expect an error of a kind, in one line, not longer than that, that has all the words."""
    with pytest.raises(kind) as caught:
        yield
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) <= most
    assert [word for word in map(str, words) if word not in said] == [], said


def pairs(stream: TaskStream, name: str) -> list[tuple]:
    """Users and labels of a task, by their ids in the source, users in ascending order."""
    task, users, labels = stream[name], stream.names.users, stream.names.labels[name]
    return [*zip(users[task.users].tolist(), labels[task.labels].tolist(), strict=True)]


def sizes(stream: TaskStream) -> list[list[int]]:
    """Instances, labels and users of each task."""
    return [[row[c] for c in ("instances", "labels", "users")] for row in stream.describe()]


def flipped(content: bytes) -> bytes:
    """The content with a bit of its last byte but one changed."""
    return content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file's content by its path in the folder, but for where and when it was computed."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ENVIRONMENT)
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
