"""How far a training has come; a long one leaves it on disk, and goes on from there if killed."""

import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from conure_lib.files import atomic_file

EVERY = 600.0  # seconds from one file to the next; a shorter training writes none


@dataclass(frozen=True)
class Epoch:
    """An epoch's results; number 0 is before training, its loss nan; best: than all before."""

    number: int
    loss: float
    validation: float  # see ``evaluation.validation_value``; higher is better
    best: bool
    phase: int = 1
    seconds: float = field(default=0.0, compare=False, repr=False)  # with the validation


@dataclass(eq=False)
class Progress:
    """The epochs so far and the best parameters, all that ``fit`` hands on from epoch to epoch.

    With a file also on disk, at most every ``EVERY`` seconds, beside parameters and optimisers; the
    order of instances and the negatives need nothing, for every epoch seeds its own. ``made_by``:
    the versions and the processor, for on others the bytes would not be the same.
    """

    file: Path | None = None
    made_by: str = ""
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, Tensor] = field(default_factory=dict)  # until they take it over
    written: float = field(default_factory=time.monotonic)
    last_lap: float = field(default_factory=time.perf_counter)

    def lap(self) -> float:
        """Return the seconds since this was last asked."""
        now, before = time.perf_counter(), self.last_lap
        self.last_lap = now
        return now - before

    def read(self, parameters: Mapping[str, Tensor]) -> None:
        """Take over what a killed process left, if it did; what is damaged is not used."""
        if self.file is None or not self.file.is_file():
            return
        try:
            with safe_open(self.file, "pt") as file:
                about, names = file.metadata(), file.keys()
                tensors = {name: file.get_tensor(name) for name in names}
            if about["made_by"] != self.made_by or about["sha256"] != _digest(tensors, about):
                raise ValueError("damaged, or of other versions or another processor")
            epochs = [Epoch(**row) for row in json.loads(about["history"])]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            print(f"conure: {self.file}: {error}; this training starts anew", file=sys.stderr)
            return
        parts: dict[str, dict[str, Tensor]] = {"now": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        with torch.no_grad():
            for name, tensor in parts["now"].items():
                parameters[name].copy_(tensor)
        self.history, self.optimizers = epochs, parts["optimizer"]
        self.best = {n: t.to(parameters[n].device) for n, t in parts["best"].items()}

    def resume(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Give optimisers the state that was read for them, if any was."""
        for number, optimizer in enumerate(optimizers if self.optimizers else ()):
            content = optimizer.state_dict()
            for name, value in self.optimizers.items():
                which, parameter, key = name.split(".")
                if int(which) == number:  # SparseAdam counts its steps in Python
                    value = value if value.is_floating_point() else value.item()
                    content["state"].setdefault(int(parameter), {})[key] = value
            optimizer.load_state_dict(content)
        self.optimizers = {}

    def keep(self, trained: Mapping[str, Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
        """Write the file if it is time to."""
        if self.file is None or time.monotonic() - self.written < EVERY:
            return
        tensors = {f"now.{n}": p for n, p in trained.items()}
        tensors |= {f"best.{n}": p for n, p in self.best.items()}
        for number, optimizer in enumerate(optimizers):
            for parameter, state in optimizer.state_dict()["state"].items():
                for key, value in state.items():
                    tensors[f"optimizer.{number}.{parameter}.{key}"] = torch.as_tensor(value)
        tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        about = {"made_by": self.made_by}
        about["history"] = json.dumps([asdict(epoch) for epoch in self.history])
        with atomic_file(self.file) as part:
            save_file(tensors, part, about | {"sha256": _digest(tensors, about)})
        self.written = time.monotonic()


def _digest(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> str:
    sha = hashlib.sha256(about["history"].encode())
    for name in sorted(tensors):
        sha.update(name.encode())
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()
