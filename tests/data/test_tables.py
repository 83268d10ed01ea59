"""One's own tables: small ones by hand, in every form, and every kind of mistake."""

import numpy as np
import pandas as pd
import pytest
from helpers import refused

from conure_lib.data.sources import tables
from conure_lib.data.sources.tables import EVENTS, LABELS, from_tables, latest_windows, read_table
from conure_lib.errors import DataError

USERS = [f"u{n}" for n in range(10)]
OPTIONS, FORMS = dict(length=3, min_events=2), ("csv", "parquet")


def events():
    """Each user: b, c and a, written in another order."""
    rows = [(user, item, time) for user in USERS for item, time in (("c", 2), ("b", 1), ("a", 3))]
    return pd.DataFrame(rows, columns=["user", "item", "time"])


LIKES = pd.DataFrame({"user": USERS * 2, "label": ["x"] * 10 + ["y", "z"] * 5})
AGES = pd.DataFrame({"user": USERS, "label": [30, 20] * 5})


def build(table=None, columns=None, **labels):
    labels = labels or {"T2": ("ranking", LIKES), "T3": ("classification", AGES)}
    table = events() if table is None else table
    return from_tables(table, labels, columns=columns, **OPTIONS)


def read(table, roles=EVENTS):
    return pd.concat(read_table(table, roles, {}, "table", []))


def write(file, table):
    (table.to_parquet if file.suffix == ".parquet" else table.to_csv)(file, index=False)
    return file


def test_by_hand():
    stream = build()
    assert stream.sequences.tolist() == [[2, 3, 1]] * 10
    assert stream["T2"].labels.tolist() == [0, 1, 0, 2] * 5
    assert [(t.name, t.title) for t in stream.tasks][1:] == [("T2", "T2"), ("T3", "T3")]
    assert stream.names.users.tolist() == USERS
    assert stream.notes() == []


def test_times_with_offsets_that_summer_time_changes_are_one_clock():
    """03:30 of the summer comes before 02:45 of the winter; without an offset it is UTC."""
    times = ["2024-10-27T03:30:00+02:00", "2024-10-27T02:45:00+01:00", "2024-10-27T02:00:00"]
    times += ["2024-10-27T02:30:00Z"]
    found = read(events().iloc[:4].assign(time=times))["time"]
    assert found.is_monotonic_increasing
    assert str(found.iloc[0]) == "2024-10-27 01:30:00"


def test_without_times_the_rows_are_in_order_and_repeated_events_stay():
    again = pd.concat([events(), events().iloc[:1]])[["user", "item"]]
    assert build(again).sequences[:2].tolist() == [[2, 1, 3], [3, 2, 1]]
    assert len(build(pd.concat([events(), events()])).sequences) == 20


SAME = [
    lambda table: table.assign(time=pd.to_datetime(table["time"], unit="D")),
    lambda table: table.assign(time=table["time"] / 2),
    lambda table: table.assign(time=table["time"].astype(str)),
    lambda table: table.astype({"user": "category", "item": "category"}),
    lambda table: table.astype({"user": object, "item": object}),
    lambda table: table.assign(other=None),
    lambda table: table.set_axis(range(7, 37)),
]


@pytest.mark.parametrize("change", SAME)
def test_every_form_of_a_table_gives_the_same(tmp_path, change):
    table = change(events())
    forms = [table, *(write(tmp_path / f"events.{form}", table) for form in FORMS)]
    assert {build(form).digest() for form in forms} == {build().digest()}


def test_ids_and_labels_are_text_as_they_stand(tmp_path):
    """What looks like a number, a truth value or a missing value is none: 40 users stay 40."""
    users = [f"{zeros}{n}" for zeros in ("", "0", "00") for n in range(10)]
    users += ["10.10", "10.1", "True", "TRUE", "NA", "nan", "null", "1e3", "1000", "-0"]
    items, labels = ["01", "1", "1.0"], ["NA", "none", "1", "01"] * 10
    rows = "".join(f"{user},{item}\n" for user in users for item in items)
    (tmp_path / "events.csv").write_text("user,item\n" + rows)
    rows = "".join(f'"{u}",{label}\n' for u, label in zip(users, labels, strict=True))
    (tmp_path / "labels.csv").write_text("user,label\n" + rows)
    stream = build(tmp_path / "events.csv", T2=("classification", tmp_path / "labels.csv"))
    assert stream.names.users.tolist() == sorted(users)
    assert stream.names.items.tolist() == items
    assert stream.names.labels["T2"].tolist() == sorted(set(labels))
    assert stream.info["files"].keys() == {"events.csv", "labels.csv"}


OF = [int, float, lambda n: n % 2 == 0, lambda n: pd.Timestamp(2020, 1, n + 1)]


@pytest.mark.parametrize("of", OF)
def test_ids_of_any_type_are_their_text_in_csv_and_parquet(tmp_path, of):
    table = events().assign(item=[of(n) for n in range(30)])
    from_csv, from_parquet = (read(write(tmp_path / f"e.{form}", table)) for form in FORMS)
    assert from_csv["time"].tolist() == from_parquet["time"].tolist() == events()["time"].tolist()
    if of is not OF[-1]:  # CSV may leave out a time of midnight
        assert from_csv["item"].tolist() == from_parquet["item"].tolist()
    assert from_parquet["item"].tolist() == [str(of(n)) for n in range(30)]


@pytest.mark.parametrize("name", ["timestamp", "Time", "date", "ts", "price"])
def test_a_time_that_is_not_used_is_told(name):
    found = f"column '{name}' is not named as the time" if name != "price" else "no time column"
    note = f"own-tables: events: {found}: the rows count as standing in time order"
    assert build(events().rename(columns={"time": name})).notes() == [note]


def holed(table, column):
    return table.assign(**{column: table[column].mask(table.index == 4)})


DATES = ("2024-01-31", "2024-02-29 18:30:00")
TWICE = events().set_axis(["user", "item", "item"], axis=1)
MISTAKES = [
    (dict(table=events()[["user"]]), "events: found columns ['user'], expected 'item' once"),
    (dict(columns={"item": "song"}), "expected 'song' once; rename it, or say in columns"),
    (dict(table=TWICE), "found columns ['user', 'item', 'item'], expected 'item' once"),
    (dict(table=holed(events(), "user")), "events, column 'user', row 5: found no value"),
    (dict(table=holed(events(), "time")), "events, column 'time', row 5: found no value"),
    (
        dict(table=events().assign(time="soon")),
        "column 'time', row 1: found 'soon' (str), expected",
    ),
    (dict(table=events().assign(time=["0", "1", "n/a"] * 10)), "'time', row 3: found 'n/a' (str)"),
    (dict(table=events().assign(time=[*DATES, "1"] * 10)), "column 'time', row 3: found '1' (str)"),
    (dict(table=events().assign(time=True)), "column 'time', row 1: found True (bool)"),
    (dict(table=events().assign(time=np.inf)), "column 'time', row 1: found inf (float64), expec"),
    (dict(table=events().assign(item=2.0**53)), "column 'item': found ids rounded as floating"),
    (dict(table=events().assign(item=["a", 1, 2] * 10)), "column 'item': found mixed-integer ids"),
    (dict(table=events().assign(item=b"a")), "column 'item': found bytes ids"),
    (dict(table=holed(events().astype({"user": "category"}), "user")), "'user', row 5: found no v"),
    (dict(T2=("ranking", holed(LIKES, "label"))), "T2, column 'label', row 5: found no value"),
    (dict(T2=("ranking", LIKES.iloc[:0])), "own-tables: task T2: found no row"),
]


@pytest.mark.parametrize(("mistake", "said"), MISTAKES)
def test_wrong_tables(mistake, said):
    with refused(DataError, said):
        build(**mistake)


FILES = {
    "none.csv": (None, "found no such file"),
    "table.txt": (b"user,label\n", "found suffix '.txt', expected .parquet or .csv"),
    "broken.parquet": (b"PAR1 not really", "expected a readable table"),
    "empty.csv": (b"", "Empty CSV file or block: cannot infer number of columns, expected a"),
    "ragged.csv": (b"user,label\nu1\n", "Expected 2 columns, got 1"),
    "latin.csv": (b"user,label\nu\xe9,1\n", "invalid UTF8 data"),
    "hole.csv": (b"user,label\nu1,1\nu2,\n", "column 'label', row 2: found no value"),
}


@pytest.mark.parametrize("name", FILES)
def test_wrong_files(tmp_path, name):
    content, said = FILES[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with refused(DataError, tmp_path / name, said):
        read(tmp_path / name, LABELS)


def test_a_large_csv_is_read_in_blocks_whatever_its_other_columns_hold(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_BYTES", 1000)
    table = pd.concat([events()] * 20, ignore_index=True)
    table["other"] = [*range(500), *["text"] * 100]  # text beyond the first block only
    file = write(tmp_path / "events.csv", table)
    assert read(file).to_dict("list") == table[["user", "item", "time"]].to_dict("list")
    assert latest_windows(file, ["a", "b", "c"], 3, 2)[0].tolist() == USERS


def test_times_that_are_numbers_in_one_block_and_dates_in_another(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_ROWS", 15)
    times = ["1"] * 15 + ["2024-01-31"] * 15
    with refused(DataError, "column 'time': found numbers and dates"):
        build(write(tmp_path / "events.parquet", events().assign(time=times)))


# --- each user's latest events

ITEMS = ["a", "b", "c"]
ROWS = "u2 c 5,u1 a 1,u1 new 9,u2 a 6,u1 b 0,u3 b 1,u2 b 7,u1 c 2"
HISTORY = pd.DataFrame([r.split() for r in ROWS.split(",")], columns=["user", "item", "time"])


@pytest.mark.parametrize("form", FORMS)
def test_latest_windows_by_hand(tmp_path, form):
    file = write(tmp_path / f"events.{form}", HISTORY)
    other = HISTORY.rename(columns={"time": "ts"})
    for given in ((file, ITEMS, 2, 2), (other, ITEMS, 2, 2, {"time": "ts"})):
        users, sequences, about = latest_windows(*given)
        assert (users.tolist(), sequences.tolist()) == (["u1", "u2"], [[1, 3], [1, 2]])
        assert about == {"left_out": 1, "unknown_events": 1, "notes": []}
    _, sequences, _ = latest_windows(file, ITEMS, 4, 1)
    assert sequences.tolist() == [[0, 2, 1, 3], [0, 3, 1, 2], [0, 0, 0, 2]]
    (note,) = latest_windows(other, ITEMS, 2, 2)[2]["notes"]
    assert note.startswith("events: column 'ts' is not named as the time: the rows count as")


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_the_same_windows_as_the_streams_whatever_the_blocks(tmp_path, rows, monkeypatch):
    monkeypatch.setattr(tables, "BLOCK_ROWS", rows)
    rng = np.random.default_rng(0)
    history = pd.DataFrame({"user": rng.integers(9, size=120), "item": rng.integers(20, size=120)})
    history["time"] = rng.integers(6, size=120)
    people = pd.DataFrame({"user": range(9), "label": np.arange(9) % 2})
    options = {"length": 7, "min_events": 3, "min_item_count": 5, "unknown_users": "drop"}
    stream = from_tables(history, {"T2": ("classification", people)}, **options, seed=4)
    shuffled = write(tmp_path / "events.parquet", history.sample(frac=1, random_state=1))
    users, sequences, _ = latest_windows(shuffled, stream.names.items, 7, 3, seed=4)
    assert users.tolist() == stream.names.users.tolist()
    np.testing.assert_array_equal(sequences, stream.sequences[stream.input_rows])


def test_nothing_to_embed(tmp_path):
    strange = HISTORY.assign(item="other"), "user with 2 events of items"
    for table, missing in (strange, (HISTORY.iloc[:0], "row")):
        with refused(DataError, f"events.csv: found no {missing}"):
            latest_windows(write(tmp_path / "events.csv", table), ITEMS, 2, 2)
