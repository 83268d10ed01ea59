"""The committed settings are valid; what a search chose is used, never by the profile smoke."""

import json
from dataclasses import asdict, replace

import pytest

from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.stream import FOLD_SEEDS
from conure_lib.errors import ConfigError
from conure_lib.files import read_json
from conure_lib.study.profiles import PROFILES, REPORTED, study_config

EVERY = [(dataset, profile) for profile, known in PROFILES.items() for dataset in known]
TTL_RATIOS = {"T1": 0.7, "T2": 0.8, "T3": 0.9, "T4": 0.8, "T5": 0.9, "T6": 0.9, "*": 0.9}
LENGTHS = {"synthetic": 20, "ttl": 100} | {name: 30 for name in PROFILES["paper"] if name != "ttl"}
TUNABLE = [one for one in EVERY if one[1] not in ("smoke", "paper")]


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Settings in a folder of the test's own; change ``chosen`` and ``save`` it."""
    originals = {path.stem: read_json(path) for path in paths.settings("smoke").parent.iterdir()}
    monkeypatch.setattr(paths, "_PACKAGE", tmp_path)
    paths.settings("smoke").parent.mkdir(parents=True)
    choice = {
        "model": {"width": 24, "dilations": [1, 2, 4]},
        "retrain_rate": 0.25,
        "train": {"T1": {"epochs": 7}, "T2.finetune": {"epochs": 5, "l2": 0.5}},
    }

    def save(**changes):
        for name, content in originals.items():
            text = json.dumps(content | {"chosen": choice | changes})
            paths.settings(name).write_text(text)

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
        items = config.data.options.get("length", LENGTHS.get(dataset))
        assert config.model.receptive_field >= items


def test_the_paper_has_one_set_of_settings_but_for_what_it_says_of_ttl():
    ttl, movies = (study_config(dataset, "paper", [9]) for dataset in ("ttl", "ml-25m"))
    assert (ttl.model.receptive_field, movies.model.receptive_field) == (121, 181)
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
    assert [(one.learning_rate, one.batch_size) for one in (first, later)] == [
        (0.001, 32),
        (0.0001, 512),
    ]


def test_data_sets_that_were_not_searched_take_the_settings_of_another():
    for name in ("ml-1m", "ml-latest-small"):
        data = study_config(name, "standard").data
        assert data == replace(study_config("ml-100k", "standard").data, dataset=name)
        assert replace(study_config(name, "standard"), data=data) == replace(
            study_config("ml-100k", "standard"), data=data
        )


def test_options_of_the_data_come_from_the_call_or_the_environment(monkeypatch, tmp_path):
    given = {"path": tmp_path, "split": "folds"}
    config = study_config("ttl", "paper", options=given)
    assert config.data.options == {"path": str(tmp_path), "split": "folds"}
    with pytest.raises(ConfigError, match="seeds: found 9, expected 1 to 6"):
        study_config("ttl", "paper", [9], options=given)
    monkeypatch.setenv("CONURE_OPTIONS", '{"length": 7}')
    assert study_config("ml-25m", "paper").data.options == {"length": 7, "split": "80/5/15"}
    assert study_config("ml-25m", "paper", options={}).data.options == {"split": "80/5/15"}


def test_the_reported_profile_tests_all_six_folds():
    for dataset in REPORTED:
        assert study_config(dataset, "standard").seeds == FOLD_SEEDS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mars", "smoke"), "dataset of the profile smoke: found 'mars', expected synthetic"),
        (("ttl", "huge"), "profile: found 'huge', expected smoke or quick or standard or paper"),
        (("oulad", "paper"), "dataset of the profile paper: found 'oulad', expected ttl or ml-25m"),
        (("ttl", None), "profile: found None, expected smoke or quick or standard"),
        (
            ("synthetic", "smoke", 2),
            r"seeds: found 2, expected None or a list of distinct .*\[1, 2\]",
        ),
        (("synthetic", "smoke", "[1,2]"), r"seeds: found '\[1,2\]', expected None or a list"),
        (("synthetic", "smoke", [1, 1]), r"seeds: found \(1, 1\), expected each seed once"),
        (("synthetic", "smoke", [1.5]), r"seeds\[0\]: found 1.5, expected a valid integer"),
        (("synthetic", "smoke", []), "seeds: found too few, expected at least 1"),
        (("synthetic", "smoke", [6, 7]), "seeds: found 7, expected 1 to 6, the six test folds"),
        (("synthetic", "smoke", [0]), "seeds: found 0, expected 1 to 6, the six test folds"),
    ],
)
def test_what_there_is_not_is_named_in_one_line(arguments, message):
    with pytest.raises(ConfigError, match=message) as found:
        study_config(*arguments)
    assert "\n" not in str(found.value)


def test_a_profile_may_change_whatever_was_chosen(chosen):
    content = read_json(paths.settings("ml-100k"))
    content["profiles"]["quick"] |= {"retrain_rate": 0.5, "size_seeds": [1]}
    paths.settings("ml-100k").write_text(json.dumps(content))
    quick, standard = (study_config("ml-100k", profile) for profile in ("quick", "standard"))
    assert (quick.seeds, quick.size_seeds, quick.retrain_rate) == ((1, 2), (1,), 0.5)
    own = {"profile": "standard", "seeds": FOLD_SEEDS, "size_seeds": (), "retrain_rate": 0.25}
    assert replace(quick, **own) == standard


@pytest.mark.parametrize(("dataset", "profile"), TUNABLE)
def test_what_the_search_chose_is_used(dataset, profile, chosen):
    config, base = study_config(dataset, profile), study_config(dataset, profile, tuned=False)
    assert config.model == ModelConfig(width=24, dilations=(1, 2, 4))
    assert config.retrain_rate == 0.25
    assert config.training("T1") == TrainConfig(epochs=7)
    assert config.training("T2", "finetune") == TrainConfig(epochs=5, l2=0.5)
    for task, action in (("T2", "train"), ("T2", "joint"), ("T5", "finetune")):  # not chosen
        assert config.training(task, action) == base.training(task, action)
    different = {name for name, value in asdict(config).items() if value != asdict(base)[name]}
    assert different == {"model", "retrain_rate", "train"}


def test_smoke_is_never_tuned(chosen):
    assert study_config("synthetic", "smoke") == study_config("synthetic", "smoke", tuned=False)


def test_a_choice_that_cannot_be_used_names_file_and_field(chosen):
    chosen(model={"width": 0, "dilations": [1]})
    with pytest.raises(
        ConfigError, match=r"ml-100k\.json, model\.width: found 0, expected a number"
    ):
        study_config("ml-100k", "standard")
