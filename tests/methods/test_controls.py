"""Controls: a planted structure is found, and in noise nothing is."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import NETWORKS, done, small_stream, small_study

from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.training.evaluation import metric_of, scores_of

pytestmark = pytest.mark.numerics
TASKS = ("T1", "T2", "T3", "T4", "T5", "T6")
CONFIG = TrainConfig(epochs=8, learning_rate=0.02, batch_size=64, labels_per_user=4, patience=8)
STUDY = small_study(model=ModelConfig(width=16, dilations=(1,)), train={"T1": CONFIG, "*": CONFIG})
MANY = {"n_users": 1200, "length": 7}


def ranks_of(task, stream, network="nextitnet"):
    action = "train" if task == "T1" else "scratch"
    study = replace(STUDY, model=replace(STUDY.model, layers=1, **NETWORKS[network]))
    return done(action, task, stream, study).ranks


def above_chance(task, stream, network="nextitnet"):
    """Measures more than four standard errors above a random order of the labels."""
    kind, n_labels = stream[task].kind, stream[task].n_labels
    gains = scores_of(kind, np.arange(1, n_labels + 1))
    ranks = ranks_of(task, stream, network)
    bounds = {m: gains.mean() + 4 * gains.std() / len(r) ** 0.5 for m, r in ranks.items()}
    return [m for m, r in ranks.items() if metric_of(kind, r) > bounds[m]]


@pytest.fixture(scope="module")
def noise():
    return small_stream(**MANY, structure=0, taste=0, signal=0, profile_signal=0)


@pytest.mark.parametrize("task", TASKS)
def test_in_noise_nothing_is_found(task, noise):
    """The negative control: every item and label is as likely as any other."""
    assert above_chance(task, noise) == []


FOUND = [(task, "nextitnet") for task in TASKS]
FOUND += [(task, network) for task in ("T1", "T4") for network in [*NETWORKS][1:]]


@pytest.mark.parametrize(("task", "network"), FOUND)
def test_the_same_training_and_bound_find_a_signal(task, network):
    structure = 0.5 if task == "T1" else 0.0
    dials = {"structure": structure, "taste": 0.9, "signal": 0.9, "profile_signal": 0.9}
    assert task in above_chance(task, small_stream(**MANY, **dials), network)
