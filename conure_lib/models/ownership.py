"""Which task owns each weight, and what follows: what is used, trained and pruned (section 4).

One uint8 owner map per prunable tensor, PackNet's "task index": 0 is free, t is the t-th task.
Masks, frozen weights and budgets are derived from it and stored nowhere. In blocks that are added
later LayerNorms have owner maps, too: they belong to the first task that is trained with them.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from conure_lib.errors import ModelFileError, PhaseError
from conure_lib.models.backbone import UserModel
from conure_lib.models.checkpoint import from_bit_planes, load_model, save_model, to_bit_planes

EMBEDDING = "embedding"
MAX_TASKS = 255  # an owner is one byte


class Phase(Enum):
    """READY between tasks; TRAIN: free weights learn; RETRAIN: pruned, the task's weights learn."""

    READY = "ready"
    TRAIN = "train"
    RETRAIN = "retrain"


class ContinualModel:
    """A user model that learns one task after the other: start, (train), prune, (retrain), finish.

    The stored weights include the free ones, whose values the next task starts from. ``prunable``:
    names of the tensors with an owner map, the kernels by default; the first ``prune`` can add the
    embedding (Table 5). ``state``: what other continual learners keep beside the model.
    """

    def __init__(self, model: UserModel, prunable: tuple[str, ...] | None = None) -> None:
        self.model = model
        self.tasks: list[str] = []
        self.phase = Phase.READY
        self.state: dict[str, Tensor] = {}
        parameters = dict(model.named_parameters())
        names = tuple(model.kernels()) if prunable is None else prunable
        self.owners = {n: torch.zeros_like(parameters[n], dtype=torch.uint8) for n in names}

    def to(self, device: torch.device | str) -> "ContinualModel":
        """Move weights, owner maps and state to a device."""
        self.model.to(device)
        self.owners = {name: owner.to(device) for name, owner in self.owners.items()}
        self.state = {name: tensor.to(device) for name, tensor in self.state.items()}
        return self

    def grow(self, generator: torch.Generator, blocks: int = 1) -> None:
        """Append residual blocks whose weights are free; tasks learned before never compute them.

        The next ``prune`` shares their kernels out like all others and gives the task the rest.
        """
        self._require(Phase.READY, "grow")
        before = {name for name, _ in self.model.named_parameters()}
        self.model.resize(self.model.config.blocks + blocks, generator)
        for name, parameter in self.model.named_parameters():
            if name not in before:
                self.owners[name] = torch.zeros_like(parameter, dtype=torch.uint8)

    def free_share(self) -> float:
        """Return the share of all kernel weights that are free."""
        owners = [self.owners[name] for name in self.model.kernels()]
        return sum(int((o == 0).sum()) for o in owners) / sum(o.numel() for o in owners)

    def start(self, task: str, counts: np.ndarray, generator: torch.Generator) -> None:
        """Begin a task with a new output layer; free weights become trainable (stages 1 and 4).

        ``counts``: how often each label occurs in training (``stream.label_counts(task)``).
        """
        self._require(Phase.READY, f"start {task}")
        if task in self.tasks:
            raise PhaseError(f"{task} is learned already; tasks are learned once")
        if len(self.tasks) == MAX_TASKS:
            raise PhaseError(f"an owner map holds at most {MAX_TASKS} tasks")
        if not any((owner == 0).any() for owner in self.owners.values()):
            raise PhaseError(f"no free weight is left for {task}; prune earlier tasks more")
        self.model.add_output(task, counts, generator)
        self.tasks.append(task)
        self.phase = Phase.TRAIN

    def prune(self, kernels: float, embedding: float | None = None) -> None:
        """Give each tensor's largest free weights to the current task (stages 2 and 5, Eq. 3).

        ``kernels``, ``embedding``: the shares of the free weights that stay free, with their
        values (0: all are taken); without one the embedding belongs to the first task. ValueError
        for a share outside [0, 1), or one of the embedding that is missing or comes too late.
        """
        self._require(Phase.TRAIN, "prune")
        weights, owners = dict(self.model.named_parameters()), self.owners
        if embedding is not None and EMBEDDING not in owners:
            if len(self.tasks) > 1:
                raise ValueError(f"{self.tasks[0]} owns the embedding: it did not prune it")
            owners = {EMBEDDING: torch.zeros_like(weights[EMBEDDING], dtype=torch.uint8), **owners}
        ratios = dict.fromkeys(owners, 0.0) | dict.fromkeys(self.model.kernels(), kernels)
        ratios |= {EMBEDDING: embedding} if EMBEDDING in owners else {}
        for name, ratio in ratios.items():  # all of them before anything changes
            if ratio is None or not 0 <= ratio < 1:
                raise ValueError(
                    f"pruning ratio of {name}: found {ratio!r}, expected at least 0, below 1"
                )
        self.owners = owners
        for name, owner in owners.items():
            free = (owner.flatten() == 0).nonzero().squeeze(1)
            n_kept = len(free) - round(ratios[name] * len(free))
            magnitude = weights[name].detach().flatten()[free].abs()
            kept = magnitude.argsort(descending=True, stable=True)[:n_kept]  # ties: the earlier
            owner.view(-1)[free[kept]] = len(self.tasks)
        self.phase = Phase.RETRAIN

    def finish(self) -> None:
        """Declare the current task learned: from here on nothing that it uses ever changes."""
        self._require(Phase.RETRAIN, "finish")
        self.phase = Phase.READY

    def trainable(self) -> dict[str, Tensor | None]:
        """Return which entries may change now (Eq. 4): by parameter name a mask, or None for all.

        Training T1: everything; a later task: free weights; retraining: the task's own weights.
        Tensors of which no entry may change are left out.
        """
        if self.phase is Phase.READY:
            raise PhaseError("no task is in training; start one first")
        owner = 0 if self.phase is Phase.TRAIN else len(self.tasks)
        everything = self.phase is Phase.TRAIN and len(self.tasks) == 1
        masks: dict[str, Tensor | None] = {}
        for name, _ in self.model.named_parameters():
            if name in self.owners and not everything:
                if (mask := self.owners[name] == owner).any():
                    masks[name] = mask
            elif everything or name.startswith(f"outputs.{self.tasks[-1]}."):
                masks[name] = None
        return masks

    def visible(self, name: str, task: str) -> Tensor:
        """Return the mask of a tensor's entries that a task uses: owners 1..t, in training all."""
        owner, number = self.owners[name], self._number(task)
        if task == self.tasks[-1] and self.phase is Phase.TRAIN:
            return torch.ones_like(owner, dtype=torch.bool)
        return (owner > 0) & (owner <= number)

    def for_task(self, task: str) -> UserModel:
        """Return a plain copy for one task: its weights, zeros elsewhere, its output layer.

        Blocks that came later would add zeros; they are left out, so that not even the order of
        sums differs from when the task was learned.
        """
        self._number(task)
        model, blocks = copy.deepcopy(self.model), 0
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                used = None if name not in self.owners else self.visible(name, task)
                if used is not None:
                    parameter.masked_fill_(~used, 0.0)
                if name.startswith("blocks.") and (used is None or used.any()):
                    blocks = max(blocks, int(name.split(".")[1]) + 1)
        model.resize(blocks)
        for other in [name for name in model.outputs if name != task]:
            del model.outputs[other]
        return model.requires_grad_(False)

    @contextmanager
    def only_owned(self) -> Iterator[UserModel]:
        """Give the model with free weights at zero, for retraining; their values come back."""
        self._require(Phase.RETRAIN, "set free weights to zero")
        weights = {n: p for n, p in self.model.named_parameters() if n in self.owners}
        stored = {n: p.detach().clone() for n, p in weights.items()}
        with torch.no_grad():
            for name, weight in weights.items():  # a product would make some of them minus zero
                weight.masked_fill_(self.owners[name] == 0, 0.0)
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(torch.where(self.owners[name] == 0, stored[name], weight))

    def owned_shares(self) -> list[dict]:
        """Return one row per tensor and owner ("free" included): number and share of weights."""
        rows = []
        for name, owner in self.owners.items():
            counts = torch.bincount(owner.flatten().long(), minlength=len(self.tasks) + 1).tolist()
            rows += [
                {"tensor": name, "owner": label, "weights": n, "share": n / owner.numel()}
                for label, n in zip(["free", *self.tasks], counts, strict=True)
            ]
        return rows

    def save(self, folder: Path) -> None:
        """Write weights and owner maps as safetensors, the rest as JSON."""
        bits = len(self.tasks).bit_length()
        extra = {f"owner.{n}": to_bit_planes(o, bits) for n, o in self.owners.items()}
        extra |= {f"state.{n}": tensor.cpu().contiguous() for n, tensor in self.state.items()}
        about = {"tasks": self.tasks, "phase": self.phase.value}
        save_model(self.model, folder, extra, {"continual": about})

    @classmethod
    def load(cls, folder: Path) -> "ContinualModel":
        """Read what ``save`` wrote; ModelFileError for files that do not fit together."""
        model, planes, about = load_model(folder)
        try:
            kept = {name: planes.pop(name) for name in [*planes] if name.startswith("state.")}
            learner = cls(model, tuple(name.removeprefix("owner.") for name in planes))
            learner.state = {name.removeprefix("state."): kept[name] for name in kept}
            learner.tasks = [str(task) for task in about["continual"]["tasks"]]
            learner.phase = Phase(about["continual"]["phase"])
            n = len(learner.tasks)
            if n > MAX_TASKS or n > len(set(learner.tasks) & set(model.outputs)):
                raise ValueError(f"tasks {learner.tasks} with outputs {list(model.outputs)}")
            if not n and learner.phase is not Phase.READY:
                raise ValueError(f"phase {learner.phase.value!r} without a task")
            if n and not model.kernels().keys() <= learner.owners.keys():
                raise ValueError(f"owner maps of {sorted(learner.owners)} only")
            for name, owner in learner.owners.items():
                stored = planes[f"owner.{name}"]
                owner.copy_(from_bit_planes(stored, n.bit_length(), owner.shape))
                if owner.numel() and owner.max() > n:
                    raise ValueError(f"owner {owner.max()} in {name}, with {n} tasks")
        except (KeyError, TypeError, ValueError) as error:
            found = f"no {error}" if isinstance(error, KeyError) else error
            expected = "the tasks (model.json) and an owner map per kernel (model.safetensors)"
            raise ModelFileError(f"{folder}: found {found}, expected {expected}") from error
        return learner

    def _number(self, task: str) -> int:
        if task not in self.tasks:
            raise KeyError(f"{task!r} is not learned; learned are {', '.join(self.tasks)}")
        return self.tasks.index(task) + 1

    def _require(self, phase: Phase, action: str) -> None:
        if self.phase is not phase:
            raise PhaseError(f"cannot {action} in phase {self.phase.value!r}, only {phase.value!r}")
