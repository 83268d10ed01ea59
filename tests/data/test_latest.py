"""Each user's latest window: by hand, from every kind of file, the same as the stream's in any blocks."""

import numpy as np
import pandas as pd
import pytest

from conure_lib.data.sources import latest, tables
from conure_lib.data.sources.latest import latest_windows
from conure_lib.errors import DataError

ITEMS = np.array(["a", "b", "c"], dtype=object)
ROWS = [
    ("u2", "c", 5),
    ("u1", "a", 1),
    ("u1", "new", 9),
    ("u2", "a", 5),
    ("u1", "b", 0),
    ("u3", "b", 1),
    ("u2", "b", 7),
    ("u1", "c", 2),
]
EVENTS = pd.DataFrame(ROWS, columns=["user", "item", "time"])


def write(file, table):
    (table.to_parquet if file.suffix == ".parquet" else table.to_csv)(file, index=False)
    return file


@pytest.mark.parametrize("name", ["events.csv", "events.parquet"])
def test_by_hand(tmp_path, name):
    found = latest_windows(write(tmp_path / name, EVENTS), ITEMS, 2, 2)
    assert found.users.tolist() == ["u1", "u2"]
    np.testing.assert_array_equal(
        found.sequences, [[1, 3], [1, 2]]
    )  # u2: c and a at once, as the rows stand
    assert (found.unknown_events, found.few) == (1, 1)
    longer = latest_windows(tmp_path / name, ITEMS, 4, 1)
    np.testing.assert_array_equal(longer.sequences, [[0, 2, 1, 3], [0, 3, 1, 2], [0, 0, 0, 2]])


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_same_windows_as_the_streams_whatever_the_blocks(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(latest, "ROWS", rows)
    rng = np.random.default_rng(0)
    events = pd.DataFrame({"user": rng.integers(9, size=120), "item": rng.integers(20, size=120)})
    events["time"] = rng.integers(6, size=120)
    ages = pd.DataFrame({"user": events["user"].unique()}).assign(
        label=lambda table: table["user"] % 2
    )
    options = {"length": 7, "min_events": 3, "min_item_count": 5, "unknown_users": "drop"}
    stream = tables.from_tables(events, {"T2": ("classification", ages)}, **options)
    found = latest_windows(write(tmp_path / "events.parquet", events), stream.names.items, 7, 3)
    assert found.users.tolist() == stream.names.users.tolist()
    np.testing.assert_array_equal(found.sequences, stream.sequences[stream.input_rows])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            EVENTS.assign(item=range(8)),
            "column 'item': found int64, wanted items as the model has learned them",
        ),
        (EVENTS.assign(item="other"), "found no event of an item that the model knows"),
        (EVENTS.iloc[:0], "found no event of an item that the model knows"),
        (
            EVENTS.assign(user=EVENTS["user"].mask(EVENTS["user"] == "u3")),
            "block 0 of 1048576 rows, column",
        ),
    ],
)
def test_what_cannot_be_embedded(tmp_path, table, said):
    with pytest.raises(DataError) as caught:
        latest_windows(write(tmp_path / "events.parquet", table), ITEMS, 2, 2)
    assert said in str(caught.value)
