"""Who owns each weight, and what follows: what a task sees, what may train, what is pruned (paper, section 4).

One uint8 owner map per prunable tensor: 0 is free, t belongs to the stream's t-th task. Masks, frozen parts
and budgets are derived here and nowhere stored.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

import torch
from torch import Tensor

from conure_lib.data.stream import Kind
from conure_lib.errors import ModelFileError, PhaseError
from conure_lib.models.checkpoint import from_bit_planes, load_model, save_model, to_bit_planes
from conure_lib.models.nextitnet import UserModel

EMBEDDING = "embedding"
MAX_TASKS = 255  # an owner is one unsigned byte


class Phase(Enum):
    """READY between tasks; TRAIN: free weights learn; RETRAIN: pruned, the owned weights learn once more."""

    READY = "ready"
    TRAIN = "train"
    RETRAIN = "retrain"


class ContinualModel:
    """A user model that learns tasks one after the other: start, (train), prune, (retrain), finish.

    The stored weights always include the free ones, whose values the next task starts from; a view without
    them exists only inside ``only_owned`` and in what ``for_task`` returns.
    prunable: names of the tensors with an owner map; the kernels unless told otherwise. The first ``prune`` can
    still add the embedding (Table 5).
    """

    def __init__(self, model: UserModel, prunable: tuple[str, ...] | None = None) -> None:
        self.model = model
        self.tasks: list[str] = []
        self.phase = Phase.READY
        parameters = dict(model.named_parameters())
        names = tuple(model.kernels()) if prunable is None else prunable
        self.owners = {n: torch.zeros_like(parameters[n], dtype=torch.uint8) for n in names}

    def to(self, device: torch.device | str) -> "ContinualModel":
        """Moves weights and owner maps to a device."""
        self.model.to(device)
        self.owners = {name: owner.to(device) for name, owner in self.owners.items()}
        return self

    def start(self, task: str, n_labels: int, kind: Kind, generator: torch.Generator) -> None:
        """Stage 1 or 4 begins: a new task with a new output layer; free weights become trainable.

        Raises PhaseError if another task is unfinished, the task is known, or no weight is free.
        """
        self._require(Phase.READY, f"start {task}")
        if task in self.tasks:
            raise PhaseError(f"{task} is learned already; tasks are learned once")
        if len(self.tasks) == MAX_TASKS:
            raise PhaseError(f"an owner map holds at most {MAX_TASKS} tasks")
        if not any((owner == 0).any() for owner in self.owners.values()):
            raise PhaseError(f"no free weight is left for {task}; prune earlier tasks more")
        self.model.add_output(task, n_labels, kind, generator)
        self.tasks.append(task)
        self.phase = Phase.TRAIN

    def prune(self, kernels: float, embedding: float | None = None) -> None:
        """Stage 2 or 5 (Eq. 3): of each tensor's free weights the largest (1 - ratio) become the current task's.

        The rest stays free and keeps its values. Equal magnitudes: the earlier position is kept.
        kernels, embedding: the ratios; the embedding belongs to the first task as a whole unless that task
        prunes it. Raises ValueError for a ratio outside (0, 1) or one that is missing or comes too late,
        PhaseError unless the task is in training.
        """
        self._require(Phase.TRAIN, "prune")
        weights, owners = dict(self.model.named_parameters()), self.owners
        if embedding is not None and EMBEDDING not in owners:
            if len(self.tasks) > 1:
                raise ValueError(
                    f"the embedding belongs to {self.tasks[0]}, which did not prune it"
                )
            owners = {EMBEDDING: torch.zeros_like(weights[EMBEDDING], dtype=torch.uint8), **owners}
        ratios = {name: embedding if name == EMBEDDING else kernels for name in owners}
        for name, ratio in ratios.items():  # all of them before anything changes
            if ratio is None or not 0 < ratio < 1:
                raise ValueError(
                    f"pruning ratio {ratio!r} for {name}; wanted: a share above 0 and below 1"
                )
        self.owners = owners
        for name, owner in owners.items():
            free = (owner.flatten() == 0).nonzero().squeeze(1)
            kept = len(free) - round(ratios[name] * len(free))
            magnitude = weights[name].detach().flatten()[free].abs()
            best = magnitude.argsort(descending=True, stable=True)[:kept]
            owner.view(-1)[free[best]] = len(self.tasks)
        self.phase = Phase.RETRAIN

    def finish(self) -> None:
        """The current task is learned; from here on nothing that it uses ever changes."""
        self._require(Phase.RETRAIN, "finish")
        self.phase = Phase.READY

    def trainable(self) -> dict[str, Tensor | None]:
        """Parameter name -> mask (bool) of the entries that may change now (None: all of them), Eq. 4.

        Training T1: everything. Training a later task: free weights. Retraining: the task's own weights. In
        each case the task's output layer too. Everything else, LayerNorm and embedding included, stands still.
        Raises PhaseError between tasks.
        """
        if self.phase is Phase.READY:
            raise PhaseError("no task is in training; start one first")
        task = self.tasks[-1]
        own_layer = f"outputs.{task}."
        number = 0 if self.phase is Phase.TRAIN else len(self.tasks)
        everything = self.phase is Phase.TRAIN and len(self.tasks) == 1
        masks: dict[str, Tensor | None] = {}
        for name, _ in self.model.named_parameters():
            if name in self.owners and not everything:
                masks[name] = self.owners[name] == number
            elif everything or name.startswith(own_layer):
                masks[name] = None
        return masks

    def visible(self, name: str, task: str) -> Tensor:
        """Mask (bool) of the entries of a tensor that the task's forward pass uses: owners 1..t, no free ones.

        name: a key of ``owners``. While the last task trains, all entries are visible to it.
        """
        owner = self.owners[name]
        if task == self.tasks[-1] and self.phase is Phase.TRAIN:
            return torch.ones_like(owner, dtype=torch.bool)
        return (owner > 0) & (owner <= self._number(task))

    def for_task(self, task: str) -> UserModel:
        """A plain model for one task: weights masked once and for all, one output layer, no overhead.

        Raises KeyError for a task that is not learned.
        """
        self._number(task)
        model = copy.deepcopy(self.model)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.owners:
                    parameter.masked_fill_(~self.visible(name, task), 0.0)
        for other in list(model.outputs):
            if other != task:
                del model.outputs[other]
        return model.requires_grad_(False)

    @contextmanager
    def only_owned(self) -> Iterator[UserModel]:
        """While retraining: the model with its free weights at zero; afterwards they have their values again."""
        self._require(Phase.RETRAIN, "set free weights aside")
        weights = {n: p for n, p in self.model.named_parameters() if n in self.owners}
        aside = {n: p.detach().clone() for n, p in weights.items()}
        with torch.no_grad():
            for name, weight in weights.items():
                weight.masked_fill_(
                    self.owners[name] == 0, 0.0
                )  # by a product some would be minus zero
        try:
            yield self.model
        finally:
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.copy_(torch.where(self.owners[name] == 0, aside[name], weight))

    def owned_shares(self) -> list[dict]:
        """Per tensor and task: how many weights it owns, and which share that is ("free" is a row as well)."""
        rows = []
        for name, owner in self.owners.items():
            counts = torch.bincount(owner.flatten().long(), minlength=len(self.tasks) + 1).tolist()
            for number, label in enumerate(["free", *self.tasks]):
                share = counts[number] / owner.numel()
                rows.append(
                    {"tensor": name, "owner": label, "weights": counts[number], "share": share}
                )
        return rows

    def save(self, folder: Path) -> None:
        """Weights and owner maps (as bit planes) as safetensors, the rest as JSON."""
        state = {"tasks": self.tasks, "phase": self.phase.value}
        bits = len(self.tasks).bit_length()
        planes = {f"owner.{n}": to_bit_planes(o, bits) for n, o in self.owners.items()}
        save_model(self.model, folder, planes, {"continual": state})

    @classmethod
    def load(cls, folder: Path) -> "ContinualModel":
        """Raises ModelFileError for files that are missing, damaged or do not fit together."""
        model, planes, about = load_model(folder)
        try:
            loaded = cls(model, tuple(name.removeprefix("owner.") for name in planes))
            loaded.tasks, loaded.phase = (
                list(about["continual"]["tasks"]),
                Phase(about["continual"]["phase"]),
            )
            if loaded.tasks and not {f"owner.{name}" for name in model.kernels()} <= planes.keys():
                raise ValueError(f"owner maps of {sorted(planes)} only")
            if len(loaded.tasks) > MAX_TASKS or len(set(loaded.tasks)) < len(loaded.tasks):
                raise ValueError(
                    f"{len(loaded.tasks)} tasks, {len(set(loaded.tasks))} of them distinct"
                )
            for name, owner in loaded.owners.items():
                owner.copy_(
                    from_bit_planes(
                        planes[f"owner.{name}"], len(loaded.tasks).bit_length(), owner.shape
                    )
                )
        except (KeyError, TypeError, ValueError) as error:
            found = f"not a saved continual model: found {error!r}, wanted the tasks and an owner map per kernel"
            raise ModelFileError(f"{folder}: {found}") from error
        if not set(loaded.tasks) <= set(model.outputs):
            found = f"found tasks {loaded.tasks}; wanted an output layer for each, in {list(model.outputs)}"
            raise ModelFileError(f"{folder / 'model.json'}: {found}")
        for name, owner in loaded.owners.items():
            if owner.numel() and owner.max() > len(loaded.tasks):
                found = f"found owner {owner.max()}; wanted up to {len(loaded.tasks)}"
                raise ModelFileError(f"{folder / 'model.safetensors'}: owner.{name}: {found}")
        return loaded

    def _number(self, task: str) -> int:
        if task not in self.tasks:
            raise KeyError(
                f"{task!r} is not learned; learned are {', '.join(self.tasks) or 'none'}"
            )
        return self.tasks.index(task) + 1

    def _require(self, phase: Phase, action: str) -> None:
        if self.phase is not phase:
            raise PhaseError(
                f"cannot {action} in phase {self.phase.value!r}; it needs phase {phase.value!r}"
            )
