"""Plans: what YAML and JSON say, what is refused with which words, which settings come out."""

import json

import pytest
from helpers import refused
from small_service import TASKS, plan_of, write_plan, write_service

from conure_lib.errors import ConfigError, DataError
from conure_lib.user_models.plan import CLASSIFICATION, RANKING, SEQUENCE, dilations_for, read_plan


@pytest.fixture
def folder(tmp_path):
    return write_service(tmp_path / "mine")


def check_refused(folder, content, *said, most=1000):
    """A plan is refused in one line that names its file."""
    file = write_plan(folder / "plan.yaml", content)
    with refused((ConfigError, DataError), file, *said, most=most):
        read_plan(file).stream()


def test_yaml_and_json_say_the_same(folder):
    plan = read_plan(folder / "plan.yaml")
    (folder / "tasks.json").write_text(json.dumps(plan_of()))
    for other in (read_plan(folder), read_plan(folder / "tasks.json")):
        assert other.model_dump(exclude={"name"}) == plan.model_dump(exclude={"name"})
        assert other.study_config() == plan.study_config()
        assert other.stream().digest() == plan.stream().digest()
    assert (plan.name, read_plan(folder).name) == ("plan", "mine")
    assert read_plan(write_plan(folder / "my new plan.yaml", plan_of())).name == "my_new_plan"
    assert [table.name for table in plan.tables()] == ["plays.csv", "likes.csv", "ages.parquet"]


def test_plain_values_of_yaml_stay_what_they_look_like(folder):
    text = "events: plays.csv\nname: '012'\ntasks:\n"
    text += "- {name: no, kind: ranking, file: likes.csv, title: 1:30}\n"
    text += "train: {T1: &few {epochs: 012}, '*': *few}\nretrain_rate: 1e-3\n"
    plan = read_plan(write_plan(folder / "plan.yaml", text))
    assert (plan.name, plan.tasks[0].name, plan.tasks[0].title) == ("012", "no", "1:30")
    assert plan.retrain_rate == 0.001
    assert [plan.study_config().training(task).epochs for task in ("T1", "no")] == [12, 12]


def test_a_few_lines_that_stand_for_billions_of_values_are_one_line(folder):
    lines = ["a0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    check_refused(folder, "\n".join([*lines, "events: *a11", "tasks: *a11"]), most=400)
    check_refused(folder, "events: a\ntasks: &all [*all]", most=400)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"tasks": [{**TASKS[0], "kind": "rank"}]}, "tasks[0].kind: found 'rank', expected 'rank"),
        ({"tasks": [{**TASKS[0], "name": "2nd"}]}, "tasks[0].name: found '2nd', expected"),
        ({"tasks": [{**TASKS[0], "name": "pop"}]}, "tasks: found name 'pop', which PyTorch uses"),
        ({"tasks": [{**TASKS[0], "name": "free"}]}, "tasks: found name 'free', which stands for"),
        ({"tasks": [{**TASKS[0], "name": "t1"}]}, "tasks: found a name twice (maybe but for its"),
        ({"tasks": [{**TASKS[0], "name": "Items"}]}, "tasks: found a name twice"),
        ({"tasks": [TASKS[0], TASKS[0]]}, "tasks: found a name twice"),
        ({"tasks": [{"name": "T2"}]}, "tasks[0].kind: found nothing, expected"),
        ({"tasks": "T"}, "tasks[0]: found 'T', expected"),
        ({"events": 3}, "events: found 3, expected"),
        ({"event": "plays.csv"}, "event: found an unknown field"),
        ({"name": "a/b"}, "name: found 'a/b', expected text that matches ^"),
        ({"options": {"split_seed": 5}}, "options.split_seed: found an unknown field"),
        ({"options": {"length": 1}}, "options.length: found 1, expected"),
        ({"columns": {"when": "ts"}}, "columns.when"),
        ({"prune": {"T1": 1.0}}, "prune.T1: found 1.0, expected"),
        ({"prune": {"T2": 0.0}, "grow_below": 0.0}, "prune of T2: found 0, expected more than 0"),
        ({"grow_below": 5}, "grow_below: found 5, expected"),
        ({"prune": {"T9": 0.5}}, "prune: found 'T9', expected some of T1, T2, T3, *"),
        ({"train": {"T9": {}}}, "train: found 'T9', expected some of T1, T2, T3, *"),
        ({"train": {"T2": {"epochs": 0}}}, "train of T2: TrainConfig, epochs: found 0, expected"),
        ({"train": {"*": {"epoch": 3}}}, "train of T1: TrainConfig, epoch: found an unknown field"),
        ({"retrain": {"epochs": "many"}}, "retrain: TrainConfig, epochs: found 'many', expected"),
        ({"model": {"dilations": []}}, "model: ModelConfig, dilations: found too few, expected at"),
        ({"model": {"width": 1.5}}, "model: ModelConfig, width: found 1.5, expected"),
        ("just text", "found 'just text', expected"),
        ("events: !!bool foo", "found "),
        ("events: a\nevents: b\n", "found while constructing a mapping"),
        ("events: [a\n", "found "),
    ],
)
def test_a_bad_plan_is_one_line_that_names_file_field_found_and_expected(folder, content, said):
    check_refused(folder, content if isinstance(content, str) else plan_of(**content), said)


@pytest.mark.parametrize("name", ["nowhere.yaml", "plan.txt", "bad\0name.yaml", "x" * 300])
def test_what_is_no_plan_is_one_line(folder, name):
    with pytest.raises(DataError, match="expected"):
        read_plan(folder / name)


def test_a_star_means_every_task_that_is_not_named(folder):
    def config(**settings):
        content = plan_of(train=settings.get("train", {}), prune=settings.get("prune", {}))
        return read_plan(write_plan(folder / "plan.yaml", content)).study_config()

    default = config()
    assert [default.training(t) for t in ("T1", "T2", "T3")] == [SEQUENCE, RANKING, CLASSIFICATION]
    assert [default.pruned(task)["kernels"] for task in ("T1", "T2", "T3")] == [0.7, 0.8, 0.8]
    starred = config(train={"*": {"epochs": 7}, "T2": {"patience": 9}}, prune={"*": 0.5, "T3": 0.6})
    trained = [starred.training(task) for task in ("T1", "T2", "T3")]
    assert [settings.epochs for settings in trained] == [7, 7, 7]
    assert [settings.patience for settings in trained] == [5, 9, 5]
    assert [starred.pruned(task)["kernels"] for task in ("T1", "T2", "T3")] == [0.5, 0.5, 0.6]
    assert config(prune={"T1": 0.6}).pruned("T2")["kernels"] == 0.8


def test_the_network_reads_the_whole_sequence_unless_the_plan_says_how(folder):
    """A kernel with dilation d reads 2 d items back, a block with d and 2 d reads 6 d."""
    covering = [dilations_for(length) for length in (2, 31, 32, 127, 128)]
    assert covering == [(1, 4), (1, 4), (1, 4, 16), (1, 4, 16), (1, 4, 16, 64)]
    own = {"dilations": [9]}, {"length": 9}, (9,)
    for model, options, dilations in (({}, {}, (1, 4, 16)), own):
        plan = read_plan(write_plan(folder / "plan.yaml", plan_of(model=model, options=options)))
        assert plan.study_config().model.dilations == dilations


def test_columns_may_have_other_names(folder):
    stream = read_plan(folder / "plan.yaml").stream()
    plays = (folder / "plays.csv").read_text()
    (folder / "plays.csv").write_text(plays.replace("user,item,time", "who,song,ts"))
    labels = (folder / "likes.csv").read_text()
    (folder / "likes.csv").write_text(labels.replace("user,label", "who,song"))
    columns = {"user": "who", "item": "song", "time": "ts"}
    first = TASKS[0] | {"columns": {"label": "song"}}
    ages = TASKS[1] | {"columns": {"user": "user"}}
    file = write_plan(folder / "plan.yaml", plan_of([first, ages], columns=columns))
    assert read_plan(file).stream().digest() == stream.digest()
