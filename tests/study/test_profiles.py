"""The committed settings: valid all of them; what a search chose is taken over, but never by the smoke profile."""

import json
from dataclasses import asdict

import pytest

from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig, content_id
from conure_lib.errors import ConfigError
from conure_lib.study.profiles import (
    EMBEDDING_RATIOS,
    PROFILES,
    TTL_RATIOS,
    study_config,
    with_chosen,
)

EVERY = [(profile, dataset) for profile, known in PROFILES.items() for dataset in known]


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """A search's choice for every dataset, in a folder of its own."""
    monkeypatch.setattr(paths, "settings", lambda dataset: tmp_path / f"{dataset}.json")
    content = {
        "model": asdict(ModelConfig(width=24, dilations=(1, 2, 4))),
        "retrain_rate": 0.25,
        "train": {
            "T1": asdict(TrainConfig(epochs=7, learning_rate=0.125)),
            "T2.finetune": asdict(TrainConfig(epochs=5, l2=0.5)),
        },
    }
    for dataset in {dataset for _, dataset in EVERY}:
        paths.settings(dataset).write_text(json.dumps(content))
    return content


@pytest.fixture
def nothing_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "settings", lambda dataset: tmp_path / "none" / f"{dataset}.json")


def test_unknown_profiles_and_datasets():
    with pytest.raises(ConfigError, match=r"'huge' is unknown; known are .*smoke"):
        study_config("synthetic", "huge")
    with pytest.raises(
        ConfigError, match=r"'smoke' has no settings for 'mars'; it has .*synthetic"
    ):
        study_config("mars", "smoke")


@pytest.mark.parametrize(("profile", "dataset"), EVERY)
def test_seeds_replace_the_profiles_own(profile, dataset):
    assert study_config(dataset, profile, (5, 7)).seeds == (5, 7)
    assert study_config(dataset, profile).seeds == PROFILES[profile][dataset]["seeds"]


@pytest.mark.parametrize("tuned", [True, False])
@pytest.mark.parametrize(("profile", "dataset"), EVERY)
def test_every_committed_setting_is_valid(profile, dataset, tuned):
    study = study_config(dataset, profile, tuned=tuned)
    assert (study.profile, study.data.dataset) == (profile, dataset)
    assert content_id(study) == content_id(asdict(study))


def test_quick_is_standard_on_fewer_seeds():
    for dataset in PROFILES["quick"]:
        quick, standard = (
            asdict(study_config(dataset, profile)) for profile in ("quick", "standard")
        )
        assert set(quick.pop("seeds")) < set(standard.pop("seeds"))
        assert (quick.pop("profile"), standard.pop("profile")) == ("quick", "standard")
        assert quick == standard


def test_the_papers_ratios_are_pruned():
    for profile, dataset in EVERY:
        study = study_config(dataset, profile)
        assert study.prune == TTL_RATIOS
        assert study.prune_embedding == {}
    assert EMBEDDING_RATIOS == {"T1": 0.3, "T2": 0.8, "T3": 0.8, "*": 0.8}


@pytest.mark.parametrize(("profile", "dataset"), [one for one in EVERY if one[0] != "smoke"])
def test_what_the_search_chose_is_taken_over(profile, dataset, chosen):
    study, base = study_config(dataset, profile), study_config(dataset, profile, tuned=False)
    assert study.model == ModelConfig(width=24, dilations=(1, 2, 4))
    assert study.retrain_rate == 0.25
    assert study.training("T1") == TrainConfig(epochs=7, learning_rate=0.125)
    assert study.training("T2", "finetune") == TrainConfig(epochs=5, l2=0.5)
    for task, action in (
        ("T2", "train"),
        ("T2", "joint"),
        ("T5", "finetune"),
    ):  # not chosen: as before
        assert study.training(task, action) == base.training(task, action)
    untouched = (
        "data",
        "prune",
        "retrain",
        "seeds",
        "threads",
        "device",
        "precision",
        "prune_embedding",
    )
    assert all(getattr(study, name) == getattr(base, name) for name in untouched)


@pytest.mark.parametrize(("profile", "dataset"), EVERY)
def test_a_study_before_the_search_does_not_read_its_choice(profile, dataset, chosen):
    study, known = study_config(dataset, profile, tuned=False), PROFILES[profile][dataset]
    assert (study.model, study.train) == (known["model"], known["train"])
    assert study.retrain_rate == known.get("retrain_rate", 1.0)


def test_the_smoke_profile_is_never_changed(chosen):
    assert study_config("synthetic", "smoke") == study_config("synthetic", "smoke", tuned=False)
    assert study_config("synthetic", "standard") != study_config(
        "synthetic", "standard", tuned=False
    )


def test_without_a_choice_the_settings_stay_as_they_are(nothing_chosen):
    study = study_config("ml-100k", "standard", tuned=False)
    assert with_chosen(study) is study
    assert study_config("ml-100k", "standard") == study


@pytest.mark.parametrize(("name", "bad"), [("width", 0), ("dilations", [])])
def test_a_choice_that_cannot_be_used_is_refused(name, bad, chosen):
    content = {**chosen, "model": {**chosen["model"], name: bad}}
    paths.settings("ml-100k").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=rf"ModelConfig\.{name} = "):
        study_config("ml-100k", "standard")
