"""What the methods' actions share: context, outcome, training, and digests of finished tasks."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from conure_lib.config import StudyConfig
from conure_lib.data.stream import TEST, Task, TaskStream
from conure_lib.models import new_model
from conure_lib.models.backbone import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.batches import Trainable
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import (
    MAX_RANK,
    Ranks,
    cross_entropy,
    deciding,
    evaluate,
    evaluate_all_positions,
    ranks_of_scores,
)
from conure_lib.training.loop import Epoch, fit
from conure_lib.training.progress import Progress

Scores = Callable[[np.ndarray], np.ndarray]
"""From users (int64 [u]) to their scores of all labels [u, n_labels]."""
PROBE_USERS = 256  # users whose logits are compared bit by bit after every later stage


@dataclass
class Outcome:
    """What an action returns; ``ranks``: test ranks by measure (see ``training.evaluation``)."""

    model: ContinualModel | None
    ranks: Ranks
    curve: list[Epoch] = field(default_factory=list)
    notes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What an action works with; ``parent``: the parent stage's model, free to change.

    progress: of its first training, if a killed one shall go on (see ``Progress``).
    """

    study: StudyConfig
    stream: TaskStream
    task: Task
    seed: int
    parent: ContinualModel | None
    action: str
    progress: Progress = field(default_factory=Progress)

    def new_model(self) -> ContinualModel:
        """Return a network with random weights on the study's device."""
        generator = seeded(self.seed, self.task.name, "backbone")
        model = new_model(self.study.model, self.stream.n_items, generator)
        return ContinualModel(model).to(self.study.device)

    def thinned(self, task: Task) -> Task:
        """Return a task with the share of its training part that this action's settings leave."""
        return task.thinned(self.study.training(task.name, self.action).share)

    def label_counts(self, task: Task) -> np.ndarray:
        """Count the labels in what a task is trained on: a new output layer's bias starts there."""
        return self.stream.label_counts(self.thinned(task))

    def train(self, model: UserModel, trainable: Trainable, **hooks) -> list[Epoch]:
        """Train the task with the study's settings for this action; ``hooks`` as in ``fit``."""
        config = self.study.training(self.task.name, self.action)
        hooks = {name: hook for name, hook in hooks.items() if hook is not None}
        if not self.progress.history and hooks.keys() <= {"joint"}:  # others may remember things
            hooks["progress"] = self.progress
        return fit(model, self.stream, self.task, config, trainable, self.seed, **hooks)

    def train_new_output(self, model: UserModel, also: tuple[str, ...] = (), **hooks) -> Outcome:
        """Train a new output layer, and the parameters whose names begin with one of ``also``."""
        task, generator = self.task, seeded(self.seed, self.task.name, "output")
        model.add_output(task.name, self.label_counts(task), generator)
        sizes = {n: p.numel() for n, p in model.named_parameters()}
        names = [n for n in sizes if n.startswith((f"outputs.{task.name}.", *also))]
        curve = self.train(model, dict.fromkeys(names), **hooks)
        notes = {"trained_parameters": sum(sizes[n] for n in names)}
        return self.outcome(ContinualModel(model, ()), model, curve, **notes)

    def outcome(
        self, learner: ContinualModel, model: UserModel, curve: list[Epoch], **notes
    ) -> Outcome:
        """Return an action's outcome: the task's test results by ``model``, and notes."""
        if self.task.kind == "classification" and len(self.task.rows(TEST)):
            notes["cross_entropy"] = cross_entropy(model, self.stream, self.task, TEST)
        return Outcome(learner, self.test_ranks(model, self.task), curve, notes)

    def test_ranks(self, model: UserModel, task: Task, max_rank: int = MAX_RANK) -> Ranks:
        """Return a task's test ranks by measure, T1's at all positions too; a search has none."""
        if not len(task.rows(TEST)):
            return {}
        asked = model, self.stream, task, TEST, max_rank
        ranks = evaluate(*asked)
        if task.kind == "sequence":
            ranks[deciding(task)] = evaluate_all_positions(*asked)
        return ranks

    def test_scores(self, scores_for: Scores) -> Outcome:
        """Return a floor's outcome: test results of scores, of classes of log-probabilities."""
        if not len(self.task.rows(TEST)):
            return Outcome(None, {})
        ranks, notes = ranks_of_scores(scores_for, self.stream, self.task, TEST), {}
        if self.task.kind == "classification":
            notes["cross_entropy"] = mean_cross_entropy(scores_for, self.task, TEST)
        return Outcome(None, ranks, notes=notes)


def mean_cross_entropy(scores_for: Scores, task: Task, part: int) -> float:
    """Return the mean cross-entropy of a part, from log-probabilities."""
    rows = task.rows(part)
    return -float(scores_for(task.users[rows])[np.arange(len(rows)), task.labels[rows]].mean())


def last_scores(model: UserModel, task: Task, sequences: np.ndarray) -> Tensor:
    """Return a task's scores [n, n_labels] for item ids [n, L], T1's of the last item."""
    items = torch.from_numpy(sequences).to(model.embedding.device).long()
    is_first = task.kind == "sequence"
    vectors = model.last_hidden(items[:, :-1]) if is_first else model.user_vectors(items)
    return model.outputs[task.name](vectors)


@torch.no_grad()
def logits_digest(model: UserModel, stream: TaskStream, task: str) -> str:
    """Return the SHA-256 of a task's logits for the first PROBE_USERS users."""
    sequences = stream.sequences[stream.input_rows[:PROBE_USERS]]
    return _sha256(last_scores(model, stream[task], sequences))


def weights_digest(model: UserModel) -> str:
    """Return the SHA-256 of all parameters: of ``for_task``'s model, those that a task uses."""
    return _sha256(*(parameter for _, parameter in sorted(model.named_parameters())))


def _sha256(*tensors: Tensor) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().numpy())
    return sha.hexdigest()
