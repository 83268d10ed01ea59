"""What the methods' actions share: context and outcome, training, evidence on forgetting."""

import hashlib
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from conure_lib.config import StudyConfig, TrainConfig
from conure_lib.data.stream import TEST, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel, Phase
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import CUTOFF, evaluate, evaluate_all_positions, metric_of
from conure_lib.training.loop import Epoch, fit
from conure_lib.training.optimizers import Trainable

BACKBONE = ("embedding", "blocks.")
PROBE_USERS = 256  # users whose logits are compared bit by bit after every later stage


@dataclass(frozen=True)
class Context:
    """What an action works with; ``parent``: the parent stage's model, free to change."""

    study: StudyConfig
    stream: TaskStream
    task: Task
    seed: int
    parent: ContinualModel | None
    action: str

    @property
    def settings(self) -> TrainConfig:
        """The study's settings for this action on this task."""
        return self.study.training(self.task.name, self.action)


@dataclass
class Outcome:
    """What an action returns; ``ranks``: test ranks by measure (a task's name, or "T1-all")."""

    model: ContinualModel | None
    ranks: dict[str, np.ndarray]
    curve: list[Epoch] = field(default_factory=list)
    notes: dict = field(default_factory=dict)


def new_model(c: Context) -> ContinualModel:
    """Return a network with random weights on the study's device."""
    model = UserModel(c.study.model, c.stream.n_items, seeded(c.seed, c.task.name, "backbone"))
    return ContinualModel(model).to(c.study.device)


def train_task(c: Context, model: UserModel, trainable: Trainable, **hooks) -> list[Epoch]:
    """Train the context's task with its settings; ``hooks`` as in ``fit``."""
    return fit(model, c.stream, c.task, c.settings, trainable, c.seed, **hooks)


def train_new_output(c: Context, model: UserModel, also: tuple[str, ...] = (), **hooks) -> Outcome:
    """Train a new output layer, and the parameters whose names begin with one of ``also``."""
    generator = seeded(c.seed, c.task.name, "output")
    model.add_output(c.task.name, c.task.n_labels, c.task.kind, generator)
    parameters = dict(model.named_parameters())
    names = [n for n in parameters if n.startswith((f"outputs.{c.task.name}.", *also))]
    curve = train_task(c, model, dict.fromkeys(names), **hooks)
    notes = {"trained_parameters": sum(parameters[n].numel() for n in names)}
    return Outcome(ContinualModel(model, ()), ranks_on_test(model, c.stream, c.task), curve, notes)


def ranks_on_test(model: UserModel, stream: TaskStream, task: Task) -> dict[str, np.ndarray]:
    """Return a task's test ranks; T1's at the last position and, as "T1-all", at all positions."""
    ranks = {task.name: evaluate(model, stream, task, TEST)}
    if task.kind == "sequence":
        ranks[f"{task.name}-all"] = evaluate_all_positions(model, stream, task, TEST)
    return ranks


def state_notes(
    c: Context, learner: ContinualModel, trained: Trainable, logits_before: dict[str, str]
) -> dict:
    """Return what a stage of Conure records: capacity, and evidence that nothing old has changed.

    For each finished task: its test metric, and digests of the weights that it uses and of its
    logits, these also from before the stage (``task_logits``), computed by the same process.
    """
    memory = {}
    for name, logits in task_logits(c, learner).items():
        task, model = c.stream[name], learner.for_task(name)
        memory[name] = {
            "metric": metric_of(task.kind, evaluate(model, c.stream, task, TEST, CUTOFF)),
            "weights_sha256": weights_digest(model),
            "logits_sha256": logits,
        }
        if name in logits_before:
            memory[name]["logits_before_sha256"] = logits_before[name]
    parameters = dict(learner.model.named_parameters())
    number = sum(parameters[n].numel() if m is None else int(m.sum()) for n, m in trained.items())
    return {"owned": learner.owned_shares(), "memory": memory, "trained_parameters": number}


def task_logits(c: Context, learner: ContinualModel) -> dict[str, str]:
    """Return the digest of each finished task's logits, as the model is now."""
    finished = learner.tasks if learner.phase is Phase.READY else learner.tasks[:-1]
    return {name: logits_digest(learner.for_task(name), c.stream, name) for name in finished}


@torch.no_grad()
def logits_digest(model: UserModel, stream: TaskStream, task: str) -> str:
    """Return the SHA-256 of a task's logits for the first PROBE_USERS users."""
    sequences = torch.from_numpy(stream.sequences[stream.input_rows[:PROBE_USERS]])
    sequences = sequences.to(model.embedding.device).long()
    is_first = stream[task].kind == "sequence"
    vectors = model.last_hidden(sequences[:, :-1]) if is_first else model.user_vectors(sequences)
    return _sha256(model.outputs[task](vectors))


def weights_digest(model: UserModel) -> str:
    """Return the SHA-256 of all parameters: of ``for_task``'s model, those that a task uses."""
    return _sha256(*(parameter for _, parameter in sorted(model.named_parameters())))


def _sha256(*tensors: Tensor) -> str:
    sha = hashlib.sha256()
    for tensor in tensors:
        sha.update(tensor.detach().cpu().contiguous().numpy())
    return sha.hexdigest()


def owners_sample(learner: ContinualModel) -> dict:
    """Return who owns a slice of the last kernel (Fig. 4): taps x 6 input x 12 output channels."""
    kernel = list(learner.model.kernels())[-1]
    owners = learner.owners[kernel][:, :6, :12]
    return {"kernel": kernel, "shape": list(owners.shape), "owners": owners.flatten().tolist()}
