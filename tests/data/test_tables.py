"""One's own tables: a tiny world by hand, from DataFrames and from a folder, and every kind of mistake."""

import json

import numpy as np
import pandas as pd
import pytest

from conure_lib.data.assemble import LabelTable
from conure_lib.data.sources import tables
from conure_lib.errors import DataError

USERS = [f"u{n}" for n in range(10)]
OPTIONS = dict(length=3, min_events=2)


def events():
    """Each user: c and a in the same second, b before them; written in another order."""
    rows = [(user, item, time) for user in USERS for item, time in (("c", 2), ("b", 1), ("a", 2))]
    return pd.DataFrame(rows, columns=["user", "item", "time"])


def likes():
    return pd.DataFrame({"user": USERS * 2, "label": ["x"] * 10 + ["y", "z"] * 5})


def ages():
    return pd.DataFrame({"user": USERS, "label": [30, 20] * 5})


def build(table=None, **labels):
    labels = labels or {"T2": ("ranking", likes()), "T3": ("classification", ages())}
    return tables.from_tables(events() if table is None else table, labels, **OPTIONS)


def test_by_hand():
    stream = build()
    np.testing.assert_array_equal(
        stream.sequences, [[2, 3, 1]] * 10
    )  # b, then c and a as the rows stand
    np.testing.assert_array_equal(stream["T2"].labels, [0] * 10 + [1, 2] * 5)
    np.testing.assert_array_equal(stream["T3"].labels, [1, 0] * 5)
    assert stream.info["classes"] == {"T3": ["20", "30"]}
    assert stream.info["source"] == "your own tables"
    assert [(t.name, t.title) for t in stream.tasks][1:] == [("T2", "T2"), ("T3", "T3")]
    assert stream.name == "custom"


def test_without_times_the_rows_are_in_order_and_repeated_events_stay():
    table = pd.concat([events(), events().iloc[:1]])
    stream = build(table[["user", "item"]])
    np.testing.assert_array_equal(stream.sequences[0], [2, 1, 3])
    np.testing.assert_array_equal(stream.sequences[1], [3, 2, 1])
    assert len(build(pd.concat([events(), events()])).sequences) == 20


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.assign(time=pd.to_datetime(table["time"], unit="D")),
        lambda table: table.assign(time=table["time"] / 2),
        lambda table: table.astype({"user": "category", "item": "category"}),
        lambda table: table.astype({"user": object, "item": object}),
        lambda table: table.assign(other=None),
    ],
)
def test_dates_categories_objects_and_more_columns_give_the_same(change):
    assert build(change(events())).digest() == build().digest()


def test_numbers_as_ids_and_titles():
    table = events().assign(user=np.repeat(np.arange(10), 3))
    label_table = LabelTable("T2", "ranking", "liked things", likes().assign(user=[*range(10)] * 2))
    stream = tables.from_tables(table, [label_table], name="mine", **OPTIONS)
    assert stream["T2"].title == "liked things"
    np.testing.assert_array_equal(stream["T2"].labels, build()["T2"].labels)


def plan(**changed):
    tasks = [
        {"name": "T2", "kind": "ranking", "title": "liked", "file": "likes.csv"},
        {"name": "T3", "kind": "classification", "file": "ages.parquet"},
    ]
    return {"title": "songs", "events": "events.parquet", "tasks": tasks, **changed}


def folder(path, content):
    path.mkdir(exist_ok=True)
    events().to_parquet(path / "events.parquet")
    events().to_csv(path / "events.csv", index=False)
    likes().to_csv(path / "likes.csv", index=False)
    ages().to_parquet(path / "ages.parquet")
    (path / "tasks.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_folder_gives_the_same_stream(tmp_path):
    stream = tables.build(path=folder(tmp_path, plan()), **OPTIONS)
    assert stream.digest() == build().digest()
    assert [t.title for t in stream.tasks] == ["songs", "liked", "T3"]
    assert stream.info["files"].keys() == {"events.parquet", "likes.csv", "ages.parquet"}
    from_csv = tables.build(path=folder(tmp_path, plan(events="events.csv")), **OPTIONS)
    assert from_csv.digest() == stream.digest()
    by_paths = {
        "T2": ("ranking", tmp_path / "likes.csv"),
        "T3": ("classification", str(tmp_path / "ages.parquet")),
    }
    assert (
        tables.from_tables(tmp_path / "events.csv", by_paths, **OPTIONS).digest() == stream.digest()
    )


def test_dates_in_a_csv_file_are_times(tmp_path):
    dated = events().assign(time=pd.to_datetime(events()["time"], unit="D"))
    dated.to_csv(tmp_path / "events.csv", index=False)
    assert build(tmp_path / "events.csv").digest() == build().digest()


def one(entry):
    return plan(tasks=[{"name": "T2", "kind": "ranking", "file": "likes.csv", **entry}])


FOLDERS = [
    ("{", "tasks.json", "found", "JSON text"),
    ("[]", "tasks.json", "found []", "an object with events, tasks"),
    (plan(tusks=1), "tasks.json", "'tusks'", "optional: title"),
    ({"tasks": []}, "tasks.json", "['tasks']", "an object with events, tasks"),
    (plan(tasks="likes.csv"), "tasks.json, tasks", "'likes.csv'", "a list"),
    (plan(tasks=[{"name": "T2"}]), "tasks.json, tasks[0]", "['name']", "name, kind, file"),
    (one({"kind": 3}), "tasks.json, tasks[0], kind", "3", "a str"),
    (one({"kind": "regression"}), "task T2", "'regression'", "ranking or classification"),
    (one({"kind": "sequence"}), "task T2", "'sequence'", "ranking or classification"),
    (one({"file": "none.csv"}), "none.csv", "no such file", "put it there"),
    (one({"file": "tasks.json"}), "tasks.json", "'.json'", ".parquet or .csv"),
    (one({"file": "../outside.csv"}), "tasks.json", "'../outside.csv'", "inside the folder"),
    (one({"file": "/etc/outside.csv"}), "tasks.json", "'/etc/outside.csv'", "inside the folder"),
    (one({"file": "link.csv"}), "tasks.json", "'link.csv'", "inside the folder"),
    (one({"file": "broken.parquet"}), "broken.parquet", "found", "write the file again"),
    (one({"file": "ragged.csv"}), "ragged.csv", "Expected 2 columns", "write the file again"),
]


@pytest.mark.parametrize(("content", "place", "found", "wanted"), FOLDERS)
def test_broken_folders(tmp_path, content, place, found, wanted):
    path = folder(tmp_path / "mine", content)
    likes().to_csv(tmp_path / "outside.csv", index=False)
    (path / "link.csv").symlink_to(tmp_path / "outside.csv")
    (path / "broken.parquet").write_bytes(b"PAR1 not really")
    (path / "ragged.csv").write_text("user,label\nu1\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DataError) as caught:
        tables.build(path=path, **OPTIONS)
    for words in (place, found, wanted, ";"):
        assert words in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_a_plan(tmp_path):
    with pytest.raises(
        DataError, match=r"tasks\.json: found no such file, wanted the plan of the tasks; write it"
    ):
        tables.build(path=tmp_path)


def holed(table, column):
    return table.assign(**{column: table[column].mask(table.index == 4)})


TABLES = [
    (lambda: build(events()[["user"]]), "custom: events", "['user']", "rename or add ['item']"),
    (
        lambda: build(holed(events(), "user")),
        "events, column 'user', row 4",
        "no value",
        "drop the row",
    ),
    (
        lambda: build(holed(events(), "item")),
        "events, column 'item', row 4",
        "no value",
        "drop the row",
    ),
    (
        lambda: build(holed(events(), "time")),
        "events, column 'time', row 4",
        "no value",
        "drop the row",
    ),
    (
        lambda: build(events().astype({"time": str})),
        "events, column 'time'",
        "['2']",
        "pandas.to_datetime",
    ),
    (
        lambda: build(events().assign(item=["a", 1, 2] * 10)),
        "events, column 'item'",
        "mixed",
        ".astype(str)",
    ),
    (
        lambda: build(T2=("ranking", likes()[["user"]])),
        "task T2",
        "['user']",
        "rename or add ['label']",
    ),
    (
        lambda: build(T2=("ranking", holed(likes(), "label"))),
        "task T2, column 'label', row 4",
        "no",
        "drop the",
    ),
    (lambda: build(T2=("rank", likes())), "task T2", "kind 'rank'", "ranking or classification"),
    (
        lambda: build(T2=("ranking", likes().assign(user=range(20)))),
        "T2, column 'user'",
        "int64",
        ".astype",
    ),
    (
        lambda: build(T2=("classification", likes())),
        "T2, column 'user'",
        "'u0' in several rows",
        "one label",
    ),
    (lambda: build(T2=("ranking", likes().iloc[:0])), "task T2", "is empty", "custom"),
    (lambda: build(events().iloc[:0]), "custom", "T1 is empty", "no user has 2 events"),
]


@pytest.mark.parametrize(("call", "place", "found", "wanted"), TABLES)
def test_broken_tables(call, place, found, wanted):
    with pytest.raises(DataError) as caught:
        call()
    for words in (place, found, wanted):
        assert words in str(caught.value)
