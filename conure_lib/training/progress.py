"""How far a training has come; a long one leaves it on disk, and goes on from there if killed."""

import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from conure_lib.files import atomic_file

CHECKPOINT_SECONDS = 600.0  # seconds from one file to the next; a shorter training writes none


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
    """All that ``fit`` hands on from epoch to epoch: the epochs so far and the best parameters.

    With a file also on disk, beside parameters and optimisers, every ``CHECKPOINT_SECONDS``.
    The order of instances and the negatives need nothing: every epoch seeds its own.
    """

    file: Path | None = None
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, Tensor] = field(default_factory=dict)  # as read, for ``resume``
    written: float = field(default_factory=time.monotonic)

    def read(self, parameters: dict[str, Tensor]) -> None:
        """Take over what a killed process left, if it did; what is damaged is not used."""
        if self.file is None or not self.file.is_file():
            return
        try:
            with safe_open(self.file, "pt") as file:
                about = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about["sha256"] != _digest(tensors, about["history"]):
                raise ValueError("damaged")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            print(f"conure: {self.file}: {error}; this training starts anew", file=sys.stderr)
            return
        self.history = [Epoch(**row) for row in json.loads(about["history"])]
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part == "now":
                parameters[rest].data.copy_(tensor)
            elif part == "best":
                self.best[rest] = tensor.to(parameters[rest].device)
            else:
                self.optimizers[name] = tensor

    def resume(self, optimizers: list[torch.optim.Optimizer]) -> None:
        """Give optimisers the state that was read for them, if any was."""
        contents = [optimizer.state_dict() for optimizer in optimizers]
        for name, value in self.optimizers.items():
            _, number, parameter, key = name.split(".")
            state = contents[int(number)]["state"].setdefault(int(parameter), {})
            state[key] = value if value.is_floating_point() else value.item()  # SparseAdam's count
        for optimizer, content in zip(optimizers, contents, strict=True):
            optimizer.load_state_dict(content)
        self.optimizers = {}

    def keep(self, now: dict[str, Tensor], optimizers: list[torch.optim.Optimizer]) -> None:
        """Write the file if it is time to."""
        if self.file is None or time.monotonic() - self.written < CHECKPOINT_SECONDS:
            return
        tensors = {f"now.{n}": p for n, p in now.items()}
        tensors |= {f"best.{n}": p for n, p in self.best.items()}
        for number, optimizer in enumerate(optimizers):
            for parameter, state in optimizer.state_dict()["state"].items():
                names = {key: f"optimizer.{number}.{parameter}.{key}" for key in state}
                tensors |= {names[key]: torch.as_tensor(value) for key, value in state.items()}
        tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        history = json.dumps([asdict(epoch) for epoch in self.history])
        with atomic_file(self.file) as part:
            about = {"history": history, "sha256": _digest(tensors, history)}
            save_file(tensors, part, about)
        self.written = time.monotonic()


def _digest(tensors: dict[str, Tensor], history: str) -> str:
    sha = hashlib.sha256(" ".join([history, *sorted(tensors)]).encode())
    for name in sorted(tensors):
        sha.update(tensors[name].reshape(-1).view(torch.uint8).numpy())
    return sha.hexdigest()
