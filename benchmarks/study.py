"""``conure bench study``: what a study's training costs here, and what the references would have taken for it.

The study's own data, settings, stages and numbers of epochs; only what an epoch costs is measured, on a part of
the instances, by turns with both references (``plain``).
"""

import contextlib
import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from benchmarks.measure import interleaved
from benchmarks.parts import ENDLESS, Call, trainer
from conure_lib import paths
from conure_lib.data.stream import TRAIN, UNUSED, VALIDATION, Task, TaskStream
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.models.reference import Plain
from conure_lib.pipeline.provenance import environment
from conure_lib.pipeline.stage import Stage
from conure_lib.study.experiments import EXPERIMENTS
from conure_lib.study.profiles import PROFILES, study_config
from conure_lib.study.study import Study
from conure_lib.training.determinism import torch_threads
from conure_lib.training.evaluation import evaluate, evaluate_all_positions
from conure_lib.training.optimizers import Trainable

ACTIONS = ("train", "retrain", "scratch", "finetune")
"""Stages whose work the references know as well: all weights of a network and one output layer learn."""

WHO = ("ours", "port", "lean")
BATCHES, VALIDATED = (
    6,
    512,
)  # of a timed call, about: batches of training, and instances of validation
MOST_ROUNDS, BUDGET = (
    9,
    12.0,
)  # rounds of a kind of stage, and seconds they may take unless too few rounds fit


@dataclass(frozen=True)
class Kind:
    """All stages of a study with one task, action and network; ``one`` of them, and what their records tell.

    passes: over the task's whole training part, all stages together. validations: of its validation part.
    """

    one: Stage
    stages: int
    passes: float
    validations: int
    cpu_s: float


def run_study(rounds: int, datasets: Iterable[str], profile: str = "standard") -> dict:
    """Prints, returns and writes study.json: per dataset its kinds of stages, and how many times as long the
    references' training of them would take.

    The threads are those of the study. Each ratio is the median over the rounds (low, high: the extremes) of the
    references' total over ours in that round. covered: the share of all stages' CPU time that the kinds have.
    Raises MissingResultError for a dataset whose records are not there.
    """
    torch.manual_seed(0)
    found = {"environment": environment(), "profile": profile, "datasets": {}}
    for dataset in datasets:
        study = Study(study_config(dataset, profile))
        found["datasets"][dataset] = measured(study, rounds)
        print(_line(dataset, found["datasets"][dataset]), flush=True)
    folder = paths.bench(profile == "smoke")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.json").write_text(json.dumps(found, indent=1) + "\n")
    return found


def datasets_of(profile: str) -> list[str]:
    """The profile's datasets with committed results."""
    return [name for name in PROFILES[profile] if paths.tables(profile, name).is_dir()]


def measured(study: Study, rounds: int) -> dict:
    """One dataset's entry."""
    every = all_stages(study)
    kinds, rows, totals = kinds_of(every), [], []
    with torch_threads(study.config.threads):
        for kind in kinds:
            with calls_of(study.stream, kind) as (calls, scale):
                label = f"{study.stream.name} {kind.one.step.task} {kind.one.step.action}"
                seconds = [
                    {name: spent * scale[name.partition(" ")[2]] for name, spent in one.items()}
                    for one in interleaved(calls, rounds, MOST_ROUNDS, BUDGET, label)
                ]
            sums = [
                {who: one[f"{who} learns"] + one[f"{who} ranks"] for who in WHO} for one in seconds
            ]
            totals.append(sums[:rounds])
            rows.append(
                {
                    "task": kind.one.step.task,
                    "action": kind.one.step.action,
                    "width": kind.one.study.model.width,
                    "stages": kind.stages,
                    "cpu_s": round(kind.cpu_s, 1),
                    **{
                        f"{who}_s": round(statistics.median(one[who] for one in sums), 2)
                        for who in WHO
                    },
                }
            )
    together = [
        {who: sum(kind[who] for kind in number) for who in WHO}
        for number in zip(*totals, strict=True)
    ]
    whole = sum(stage.environment()["cpu_s"] for stage in every)
    ratios = {who: [one[who] / one["ours"] for one in together] for who in WHO[1:]}
    return {
        "threads": study.config.threads,
        "rounds": rounds,
        "stages": len(every),
        "cpu_s": round(whole, 1),
        "covered": round(sum(kind.cpu_s for kind in kinds) / whole, 3),
        "kinds": rows,
        **{f"{who}_s": round(statistics.median(one[who] for one in together), 1) for who in WHO},
        **{
            who: {
                "ratio": round(statistics.median(r), 2),
                "low": round(min(r), 2),
                "high": round(max(r), 2),
            }
            for who, r in ratios.items()
        },
    }


def all_stages(study: Study) -> list[Stage]:
    """Every stage of every experiment, once."""
    runs = [run for experiment in EXPERIMENTS.values() for run in experiment(study)]
    return list(
        {
            one.id: one for run in runs for last in run.stages.values() for one in last.lineage()
        }.values()
    )


def kinds_of(stages: Iterable[Stage]) -> list[Kind]:
    """The kinds that the references know, from the stages' records. Raises MissingResultError if one is not there."""
    found: dict[tuple, list[Stage]] = {}
    for stage in stages:
        if stage.step.action in ACTIONS:
            found.setdefault((stage.step.task, stage.step.action, stage.study.model), []).append(
                stage
            )
    kinds = []
    for those in found.values():
        records = [stage.record() for stage in those]
        epochs = [len(record["curve"]) - 1 for record in records]
        shares = [record["spec"]["settings"]["share"] for record in records]
        cpu_s = sum(stage.environment()["cpu_s"] for stage in those)
        kinds.append(
            Kind(
                those[0], len(those), float(np.dot(epochs, shares)), sum(epochs) + len(those), cpu_s
            )
        )
    return kinds


@contextlib.contextmanager
def calls_of(stream: TaskStream, kind: Kind) -> Iterator[tuple[dict[str, Call], dict[str, float]]]:
    """A kind's calls ("ours learns", "port ranks", ...), and by what their time counts in the whole study."""
    step, study = kind.one.step, kind.one.study
    task, config = (
        stream[step.task],
        replace(study.training(step.task, step.action), epochs=ENDLESS, share=1.0),
    )
    learned = some(task, TRAIN, BATCHES * config.batch_size, config.labels_per_user)
    ranked = some(task, VALIDATION, VALIDATED)
    scale = {
        "learns": kind.passes * len(task.rows(TRAIN)) / len(learned.rows(TRAIN)),
        "ranks": kind.validations * len(task.rows(VALIDATION)) / len(ranked.rows(VALIDATION)),
    }
    validate = evaluate_all_positions if task.kind == "sequence" else evaluate
    with prepared(stream, kind.one) as (model, trainable):
        calls: dict[str, Call] = {
            "ours learns": trainer(model, stream, learned, config, trainable),
            "ours ranks": partial(validate, model, stream, ranked, VALIDATION),
        }
        plain = Plain(stream.n_items, study.model.width, study.model.dilations, task.n_labels)
        for who, lean in (("port", False), ("lean", True)):
            calls[f"{who} learns"] = partial(
                _learn, plain, stream, learned, config.batch_size, lean
            )
            calls[f"{who} ranks"] = partial(_rank, plain, stream, ranked, lean)
        yield calls, scale


@contextlib.contextmanager
def prepared(stream: TaskStream, stage: Stage) -> Iterator[tuple[UserModel, Trainable]]:
    """A network of the size that this stage trains, its weights owned as then, and what may be trained of it."""
    study, action, generator = stage.study, stage.step.action, torch.Generator().manual_seed(0)
    learner = ContinualModel(UserModel(study.model, stream.n_items, generator))
    continual = action in ("train", "retrain")
    for name in dict.fromkeys(one.step.task for one in stage.lineage()):
        learner.start(name, stream[name].n_labels, stream[name].kind, generator)
        if name == stage.step.task:
            break
        learner.prune(**study.pruned(name))
        learner.finish()
    if action == "retrain":
        learner.prune(**study.pruned(stage.step.task))
        trainable = learner.trainable()
        with learner.only_owned() as model:
            yield model, trainable
    else:
        yield (
            learner.model,
            learner.trainable()
            if continual
            else dict.fromkeys(dict(learner.model.named_parameters())),
        )


def some(task: Task, part: int, instances: int, together: int | None = None) -> Task:
    """The task with about ``instances`` instances in one part, at random.

    together: how many instances of a user training keeps side by side (``TrainConfig.labels_per_user``); so many
    stay or go at once, of whichever user, so that a batch has as many distinct users as in the whole. None: all
    that a user has in the part, as in an evaluation.
    """
    rows = task.rows(part)
    rows = rows[np.argsort(task.users[rows], kind="stable")]
    users = task.users[rows]
    place = np.arange(len(rows)) - np.searchsorted(users, users)
    starts = place % together == 0 if together else place == 0
    group = np.cumsum(starts) - 1
    order = np.random.default_rng(0).permutation(group[-1] + 1)
    enough = int(np.searchsorted(np.cumsum(np.bincount(group)[order]), instances)) + 1
    split = task.split.copy()
    split[rows[~np.isin(group, order[:enough])]] = UNUSED
    return replace(task, split=split)


def _inputs(stream: TaskStream, task: Task, rows: np.ndarray, drop_last: bool) -> torch.Tensor:
    if task.kind == "sequence":
        sequences = stream.sequences[rows]
        return torch.from_numpy(sequences[:, :-1] if drop_last else sequences).long()
    return torch.from_numpy(stream.sequences[stream.input_rows[task.users[rows]]]).long()


def _learn(plain: Plain, stream: TaskStream, task: Task, size: int, lean: bool) -> None:
    for rows in np.array_split(task.rows(TRAIN), max(1, len(task.rows(TRAIN)) // size)):
        items = _inputs(stream, task, rows, drop_last=False)
        if task.kind == "sequence":
            plain.learn(plain.next_item_loss(items))
        else:
            plain.learn(plain.label_loss(items, torch.from_numpy(task.labels[rows]), lean))


def _rank(plain: Plain, stream: TaskStream, task: Task, lean: bool) -> None:
    rows = task.rows(VALIDATION)
    for some_rows in np.array_split(rows, max(1, len(rows) // 256)):
        labels = torch.from_numpy(task.labels[some_rows])
        plain.ranks(_inputs(stream, task, some_rows, drop_last=True), labels, lean)


def _line(dataset: str, found: dict) -> str:
    ratios = "  ".join(f"{who} {found[who]['ratio']:.2f}x" for who in WHO[1:])
    return f"{dataset:18} {found['ours_s']:9.0f} s of training and validation here  {ratios}"
