"""The committed settings are valid; what a search chose is used."""

import json
from dataclasses import asdict, replace

import pytest
from helpers import refused

from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import FOLD_SEEDS
from conure_lib.errors import ConfigError
from conure_lib.files import read_json
from conure_lib.study.profiles import PROFILES, REPORTED, study_config

EVERY = [(dataset, profile) for profile, known in PROFILES.items() for dataset in known]
TTL_RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.9, "T4": 0.8, "T5": 0.9, "T6": 0.9, "*": 0.9}
LENGTHS = {"synthetic": 20, "ttl": 100}


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """What a search chose for ml-100k, in a folder of the test's own; ``chosen()`` changes it."""
    originals = {path.name: path.read_text() for path in paths.settings("smoke").parent.iterdir()}
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path)
    file = paths.settings("ml-100k")
    file.parent.mkdir(parents=True)
    for name, text in originals.items():
        file.with_name(name).write_text(text)
    choice = {
        "model": {"width": 24, "dilations": [1, 2, 4]},
        "retrain_rate": 0.25,
        "train": {"T1": {"epochs": 7}, "T2.finetune": {"epochs": 5, "l2": 0.5}},
    }

    def save(quick=(), **changes):
        content = read_json(file) | {"chosen": choice | changes}
        content["profiles"]["quick"] = {"seeds": [1, 2], **dict(quick)}
        file.write_text(json.dumps(content))

    save()
    return save


@pytest.mark.parametrize(("dataset", "profile"), EVERY)
def test_every_committed_setting_is_valid(dataset, profile):
    for tuned in (True, False):
        config = study_config(dataset, profile, tuned=tuned)
        assert (config.profile, config.data.dataset) == (profile, dataset)
        movies = profile == "paper" and dataset != "ttl"
        assert config.prune == TTL_RATIOS | ({"T3": 0.7} if movies else {})
        assert config.prune_embedding == {}
        assert study_config(dataset, profile, [5, 6], tuned) == replace(config, seeds=(5, 6))
        items = config.data.options.get("length", LENGTHS.get(dataset, 30))
        assert config.model.receptive_field >= items
        assert profile != "standard" or dataset not in REPORTED or config.seeds == FOLD_SEEDS


def test_the_paper_has_one_set_of_settings_but_for_what_it_says_of_ttl():
    ttl, movies = (study_config(dataset, "paper", [9]) for dataset in ("ttl", "ml-25m"))
    assert (ttl.model.dilations, movies.model.dilations) == ((1, 4) * 4, (1, 4) * 6)
    assert ttl.model.width == movies.model.width == 256
    assert ttl.data.options == movies.data.options == {"split": "80/5/15"}
    assert ttl.training("T1") == movies.training("T1")
    for config, l2 in ((ttl, 0.05), (movies, 0.02)):
        assert [config.training(t).l2 for t in ("T1", "T2", "T3", "T4")] == [0.02, 0.02, l2, 0.02]
        assert replace(config.training("T3"), l2=0.02) == config.training("T2", "joint")
    first, later = ttl.training("T1"), ttl.training("T6", "retrain")
    assert (first.loss, first.negatives, first.final_rate) == ("sampled-softmax", 0.2, 0.0)
    assert (later.loss, later.rho, later.final_rate) == ("bpr", 0.3, 0.0)
    assert (first.learning_rate, first.batch_size) == (0.001, 32)
    assert (later.learning_rate, later.batch_size) == (0.0001, 512)


def test_data_sets_that_were_not_searched_take_the_settings_of_another():
    searched = study_config("ml-100k", "standard")
    for name in ("ml-1m", "ml-latest-small"):
        data = replace(searched.data, dataset=name)
        assert study_config(name, "standard") == replace(searched, data=data)


def test_options_of_the_data_and_the_device_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CONURE_OPTIONS", '{"path": "here", "split": "folds"}')
    monkeypatch.setenv("CONURE_DEVICE", "cuda")
    config = study_config("ttl", "paper")
    assert (config.device, config.data.options) == ("cuda", {"path": "here", "split": "folds"})
    with refused(ConfigError, "seeds: found 9, expected 1 to 6"):
        study_config("ttl", "paper", [9])
    monkeypatch.setenv("CONURE_OPTIONS", '{"length": 7}')
    assert study_config("ml-25m", "paper").data.options == {"length": 7, "split": "80/5/15"}
    for name, value in {"CONURE_OPTIONS": "[7]", "CONURE_DEVICE": "gpu"}.items():
        monkeypatch.setenv(name, value)
        with refused(ConfigError, f"{name}: found "):
            study_config("ml-25m", "paper")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mars", "smoke"), "dataset of the profile smoke: found 'mars', expected synthetic"),
        (("ttl", "huge"), "profile: found 'huge', expected smoke or quick or standard or paper"),
        (("oulad", "paper"), "dataset of the profile paper: found 'oulad', expected ttl or ml-25m"),
        (("ttl", None), "profile: found None, expected smoke or quick or standard"),
        (("synthetic", "smoke", 2), "seeds: found 2, expected None or a list of distinct "),
        (("synthetic", "smoke", "[1,2]"), "seeds: found '[1,2]', expected None or a list"),
        (("synthetic", "smoke", [1, 1]), "seeds: found (1, 1), expected each seed once"),
        (("synthetic", "smoke", [1.5]), "seeds[0]: found 1.5, expected a valid integer"),
        (("synthetic", "smoke", []), "seeds: found too few, expected at least 1"),
        (("synthetic", "smoke", [0, 1]), "seeds: found 0, expected 1 to 6, the six test folds"),
        (("synthetic", "smoke", [6, 7]), "seeds: found 7, expected 1 to 6, the six test folds"),
    ],
)
def test_what_there_is_not_is_named_in_one_line(arguments, message):
    with refused(ConfigError, message):
        study_config(*arguments)


def test_what_the_search_chose_is_used_and_a_profile_may_change_it(chosen):
    config, base = (study_config("ml-100k", "standard", tuned=tuned) for tuned in (True, False))
    assert config.model == ModelConfig(width=24, dilations=(1, 2, 4))
    assert config.retrain_rate == 0.25
    assert config.training("T1") == TrainConfig(epochs=7)
    assert config.training("T2", "finetune") == TrainConfig(epochs=5, l2=0.5)
    for task, action in (("T2", "train"), ("T2", "joint"), ("T5", "finetune")):  # not chosen
        assert config.training(task, action) == base.training(task, action)
    different = {name for name, value in asdict(config).items() if value != asdict(base)[name]}
    assert different == {"model", "retrain_rate", "train"}
    chosen({"retrain_rate": 0.5, "few_seeds": [1]})
    own = {"profile": "quick", "seeds": (1, 2), "few_seeds": (1,), "retrain_rate": 0.5}
    assert study_config("ml-100k", "quick") == replace(config, **own)


def test_a_choice_that_cannot_be_used_names_file_and_field(chosen):
    chosen(model={"width": 0, "dilations": [1]})
    with refused(ConfigError, "ml-100k.json, model.width: found 0, expected a number"):
        study_config("ml-100k", "standard")
