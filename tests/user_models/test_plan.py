"""Plans: YAML and JSON say the same, lines are known, and only plain data is built."""

import json
import os

import pytest

from conure_lib.config import DataConfig
from conure_lib.data.registry import load, stored_at
from conure_lib.data.sources import tables
from conure_lib.data.sources.plan import read_plan
from conure_lib.errors import DataError

YAML = """\
events: plays.csv
tasks:
- {name: T2, kind: ranking, file: likes.csv}
- name: T3
  kind: classification
  file: below/ages.csv
train:
  T1: {learning_rate: 1e-3}
"""
TASKS = [
    {"name": "T2", "kind": "ranking", "file": "likes.csv"},
    {"name": "T3", "kind": "classification", "file": "below/ages.csv"},
]


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "plan.yaml").write_text(YAML)
    return tmp_path / "plan.yaml"


def test_yaml_and_json_say_the_same(plan):
    content = {"events": "plays.csv", "tasks": TASKS, "train": {"T1": {"learning_rate": 0.001}}}
    assert read_plan(plan).content == content
    plan.with_name("tasks.json").write_text(json.dumps(content))
    assert (
        read_plan(plan.parent).content == read_plan(plan.with_name("tasks.json")).content == content
    )


def test_places_are_given_with_their_lines(plan):
    found = read_plan(plan)
    assert found.where("tasks[1].kind") == f"{plan}, line 5, tasks[1].kind"
    assert found.where("train.T1.learning_rate") == f"{plan}, line 8, train.T1.learning_rate"
    assert found.where("model") == f"{plan}, model"
    assert found.where() == str(plan)


def test_tables_lie_beside_the_plan_or_below_it(plan):
    below = plan.parent.resolve() / "below" / "ages.csv"
    assert read_plan(plan).tables()["below/ages.csv"] == below
    plan.write_text(YAML.replace("below/ages.csv", "../ages.csv"))
    with pytest.raises(
        DataError, match=r"line 6, tasks\[1\].file: found '../ages.csv', wanted a file inside"
    ):
        read_plan(plan).tables()


def test_a_stream_prepared_from_other_tables_is_not_taken(plan, root):
    plan.write_text("events: plays.csv\ntasks: []\noptions: {min_events: 2, length: 4}\n")
    table = plan.with_name("plays.csv")
    table.write_text("user,item\n" + "".join(f"u{n % 30},i{n % 7}\n" for n in range(120)))
    config = DataConfig("custom", {"path": str(plan)})
    before, folder = load(config), stored_at(config)
    assert before.digest() == tables.build(path=plan).digest()
    table.write_text(table.read_text() + "u1,i1\n")
    assert stored_at(config) != folder
    assert load(config).digest() == tables.build(path=plan).digest() != before.digest()
    assert tables.sources(plan) == [plan, table.resolve()]


def test_a_table_changed_behind_its_size_and_time_is_an_error(plan, root):
    plan.write_text("events: plays.csv\ntasks: []\noptions: {min_events: 2, length: 4}\n")
    table = plan.with_name("plays.csv")
    table.write_text("user,item\n" + "".join(f"u{n % 30},i{n % 7}\n" for n in range(120)))
    config, then = DataConfig("custom", {"path": str(plan)}), table.stat()
    load(config)
    table.write_text(table.read_text().replace("u1,i1", "u1,i2"))
    os.utime(table, ns=(then.st_atime_ns, then.st_mtime_ns))
    with pytest.raises(
        DataError, match=rf"{table.resolve()}: found sha256 \w+, wanted \w+.*delete that folder"
    ):
        load(config)


def test_an_empty_field_of_a_csv_file_is_no_id(plan):
    plan.write_text("events: plays.csv\ntasks: []\n")
    plan.with_name("plays.csv").write_text('user,item\nu1,"NA"\nu1,\n')
    with pytest.raises(DataError, match="column 'item', row 1: found no value"):
        tables.build(path=plan)
