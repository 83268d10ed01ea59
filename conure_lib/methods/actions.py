"""What a stage does: the actions that methods are made of, as pure functions of their context."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from conure_lib.config import StudyConfig, TrainConfig
from conure_lib.data.stream import TEST, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.training.batches import Joint
from conure_lib.training.determinism import seeded
from conure_lib.training.evaluation import (
    evaluate,
    evaluate_all_positions,
    metric_of,
    popularity_ranks,
    user_vectors,
)
from conure_lib.training.loop import Epoch, fit
from conure_lib.training.optimizers import Trainable

BACKBONE = ("embedding", "blocks.")
PROBE_USERS = 256  # users whose logits are compared bit by bit after every later stage


@dataclass
class Outcome:
    """What a stage leaves behind. ranks: test ranks by name of the measure (a task, or "T1-all")."""

    model: ContinualModel | None
    ranks: dict[str, np.ndarray]
    curve: list[Epoch] = field(default_factory=list)
    notes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Context:
    """What an action works with. parent: the parent stage's model, free to change; None at a start."""

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


def popularity(c: Context) -> Outcome:
    """No model: the most frequent labels of the training part, the same for everybody."""
    return Outcome(None, {c.task.name: popularity_ranks(c.stream, c.task, TEST)})


def train(c: Context) -> Outcome:
    """Conure's stages 1 and 4: a new task learns on the free weights (all weights for T1)."""
    learner = c.parent or _new(c)
    learner.start(c.task.name, c.task.n_labels, c.task.kind, seeded(c.seed, c.task.name, "output"))
    trainable = learner.trainable()
    curve = _fit(c, learner.model, trainable)
    ranks = ranks_on_test(learner.model, c.stream, c.task)
    return Outcome(learner, ranks, curve, _notes(c, learner, trainable))


def prune(c: Context) -> Outcome:
    """Conure's stages 2 and 5, first half: the smallest free weights are given back; nothing is trained."""
    learner = c.parent
    learner.prune(**c.study.pruned(c.task.name))
    with learner.only_owned() as model:
        ranks = ranks_on_test(model, c.stream, c.task)
    return Outcome(
        learner, ranks, [], _notes(c, learner, {}) | {"owners_sample": sample_of_owners(learner)}
    )


def retrain(c: Context) -> Outcome:
    """Conure's stages 3 and 5, second half: the task's own weights learn once more, free ones set aside."""
    learner = c.parent
    trainable = learner.trainable()
    with learner.only_owned() as model:
        curve = _fit(c, model, trainable)
        ranks = ranks_on_test(model, c.stream, c.task)
    learner.finish()
    return Outcome(learner, ranks, curve, _notes(c, learner, trainable))


def finetune(c: Context) -> Outcome:
    """STL: everything learned on T1 is free to change; at T2 what becomes of T1 is recorded (Fig. 2)."""
    model, first = c.parent.model, c.stream.tasks[0]
    if c.task.name != c.stream.tasks[1].name:
        return _with_new_output(c, model, trained=BACKBONE)
    sequences = c.stream.sequences[c.stream.input_rows[:PROBE_USERS]]
    kernels = {n: k.detach().clone() for n, k in model.kernels().items()}
    hidden = user_vectors(model, sequences)
    curve: list[float] = []

    def watch(changed: UserModel, _: int) -> None:
        curve.append(metric_of(first.kind, evaluate(changed, c.stream, first, TEST)))

    outcome = _with_new_output(c, model, trained=BACKBONE, on_epoch=watch)
    forgotten = ranks_on_test(model, c.stream, first)
    outcome.ranks |= {f"{measure}-after": ranks for measure, ranks in forgotten.items()}
    outcome.notes["forgetting"] = {
        "metric_by_epoch": curve,
        **change_of_weights(kernels, {n: k.detach() for n, k in model.kernels().items()}),
        **change_of_vectors(hidden, user_vectors(model, sequences)),
    }
    return outcome


def output_only(c: Context) -> Outcome:
    """FineSmax: T1's backbone stands still, only the new output layer learns."""
    return _with_new_output(c, c.parent.model, trained=())


def scratch(c: Context) -> Outcome:
    """SinMo: the same network for this task alone, from random weights."""
    return _with_new_output(c, _new(c).model, trained=BACKBONE)


def joint(c: Context) -> Outcome:
    """MTL: T1 and this task at once from random weights; T1's loss counts ``joint_weight`` times.

    T1 learns from the input sequences of the task's own users only, as in the paper (section 6.2).
    """
    model, first = _new(c).model, c.stream.tasks[0]
    model.add_output(first.name, first.n_labels, first.kind, seeded(c.seed, first.name, "output"))
    settings = replace(c.study.training(first.name), table_updates="dense")
    together = Joint(first, settings, c.settings.joint_weight)
    return _with_new_output(c, model, trained=(f"outputs.{first.name}.", *BACKBONE), joint=together)


def patched(kind: str) -> Callable[[Context], Outcome]:
    """PeterRec: T1's backbone stands still; a model patch at every convolution and the output layer learn."""

    def action(c: Context) -> Outcome:
        model = c.parent.model
        model.add_patches(kind, seeded(c.seed, c.task.name, "patches"))
        return _with_new_output(c, model, trained=("blocks.",), only="patch")

    return action


ACTIONS: dict[str, Callable[[Context], Outcome]] = {
    "popularity": popularity,
    "train": train,
    "prune": prune,
    "retrain": retrain,
    "finetune": finetune,
    "output-only": output_only,
    "scratch": scratch,
    "joint": joint,
    "patched-serial": patched("serial"),
    "patched-parallel": patched("parallel"),
}


# --- shared pieces ---------------------------------------------------------------------------------------


def ranks_on_test(model: UserModel, stream: TaskStream, task: Task) -> dict[str, np.ndarray]:
    """Ranks in the test part of a task; for T1 at the last position and, as "T1-all", at all positions."""
    ranks = {task.name: evaluate(model, stream, task, TEST)}
    if task.kind == "sequence":
        ranks[f"{task.name}-all"] = evaluate_all_positions(model, stream, task, TEST)
    return ranks


def change_of_weights(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> dict:
    """How kernels moved (Fig. 2, section 3.3): shares of weights by relative change, and the last kernel's
    slice of 1 x 3 x 12 (first input channel, 12 output channels) before and after."""
    old, new = (torch.cat([k.flatten() for k in kernels.values()]) for kernels in (before, after))
    relative = ((new - old).abs() / old.abs().clamp_min(1e-12)).double()
    last = list(before)[-1]
    return {
        "share_moved_over_20_percent": float((relative > 0.2).double().mean()),
        "share_moved_over_100_percent": float((relative > 1.0).double().mean()),
        "median_relative_change": float(relative.median()),
        "kernel": last,
        "kernel_before": before[last][:, 0, :12].flatten().tolist(),
        "kernel_after": after[last][:, 0, :12].flatten().tolist(),
    }


def sample_of_owners(learner: ContinualModel) -> dict:
    """Who owns a slice of the last kernel (Fig. 4): its taps x 6 input x 12 output channels, 0 free, t task t."""
    kernel = list(learner.model.kernels())[-1]
    owners = learner.owners[kernel][:, :6, :12]
    return {"kernel": kernel, "shape": list(owners.shape), "owners": owners.flatten().tolist()}


def change_of_vectors(before: torch.Tensor, after: torch.Tensor) -> dict:
    """How user vectors [n, k] moved (Fig. 2, section 3.3), and the first user's as an example."""
    return {
        "hidden_cosine": float(torch.cosine_similarity(before, after).mean()),
        "hidden_relative_change": float(((after - before).norm(dim=1) / before.norm(dim=1)).mean()),
        "hidden_before": before[0].tolist(),
        "hidden_after": after[0].tolist(),
    }


def _new(c: Context) -> ContinualModel:
    model = UserModel(c.study.model, c.stream.n_items, seeded(c.seed, c.task.name, "backbone"))
    return ContinualModel(model).to(c.study.device)


def _fit(c: Context, model: UserModel, trainable: Trainable, **hooks) -> list[Epoch]:
    return fit(model, c.stream, c.task, c.settings, trainable, c.seed, **hooks)


def _with_new_output(
    c: Context, model: UserModel, trained: tuple[str, ...], only: str = "", **hooks
) -> Outcome:
    """Trains a new output layer and the parameters whose names begin with ``trained`` and contain ``only``."""
    model.add_output(
        c.task.name, c.task.n_labels, c.task.kind, seeded(c.seed, c.task.name, "output")
    )
    own = f"outputs.{c.task.name}."
    parameters = dict(model.named_parameters())
    names = [n for n in parameters if n.startswith(own) or (n.startswith(trained) and only in n)]
    curve = _fit(c, model, dict.fromkeys(names), **hooks)
    notes = {"trained_parameters": sum(parameters[n].numel() for n in names)}
    return Outcome(ContinualModel(model, ()), ranks_on_test(model, c.stream, c.task), curve, notes)


def _notes(c: Context, learner: ContinualModel, trained: Trainable) -> dict:
    """What a continual stage states about itself: capacity, and that nothing old has changed."""
    memory = {}
    for name in learner.tasks if learner.phase.value == "ready" else learner.tasks[:-1]:
        task, model = c.stream[name], learner.for_task(name)
        memory[name] = {
            "metric": metric_of(task.kind, evaluate(model, c.stream, task, TEST)),
            "logits_sha256": logits_digest(model, c.stream, name),
        }
    parameters = dict(learner.model.named_parameters())
    number = sum(parameters[n].numel() if m is None else int(m.sum()) for n, m in trained.items())
    return {"owned": learner.owned_shares(), "memory": memory, "trained_parameters": number}


@torch.no_grad()
def logits_digest(model: UserModel, stream: TaskStream, task: str) -> str:
    """SHA-256 of a task's logits for the first PROBE_USERS users: equal digests mean equal to the last bit."""
    sequences = torch.from_numpy(stream.sequences[stream.input_rows[:PROBE_USERS]]).long()
    sequences = sequences.to(model.embedding.device)
    kind = stream[task].kind
    vectors = (
        model.last_hidden(sequences[:, :-1])
        if kind == "sequence"
        else model.user_vectors(sequences)
    )
    return hashlib.sha256(
        model.outputs[task](vectors).cpu().contiguous().numpy().tobytes()
    ).hexdigest()
