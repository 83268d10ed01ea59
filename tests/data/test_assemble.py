"""From tables to a stream: windows, filters and joins worked out by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.data.assemble import LabelTable, assemble, cut_windows, in_time_order
from conure_lib.errors import DataError


def cut(histories, length, least):
    """Windows of each user's history, and the user and input rows, through ``cut_windows``."""
    who = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    return cut_windows(who, np.concatenate(histories), len(histories), length, least)


@given(
    histories=st.lists(st.integers(2, 40), min_size=1, max_size=6),
    length=st.integers(2, 9),
    least=st.integers(2, 6),
)
def test_a_users_windows_are_the_end_of_the_history(histories, length, least):
    histories = [list(range(1, max(n, least) + 1)) for n in histories]
    sequences, users, rows = cut(histories, length, least)
    for user, history in enumerate(histories):
        own = sequences[users == user]
        items = own[own > 0].tolist()
        dropped, known = len(history) - len(items), (own > 0).sum(axis=1)
        assert items == history[dropped:]
        assert dropped < min(least, length)
        assert dropped == 0 or (len(items) % length == 0 and items)
        assert rows[user] == np.flatnonzero(users == user)[-1]
        assert (known[1:] == length).all()  # only a first window is padded, on its left
        assert known[0] >= min(least, length)
        assert ((own[0] > 0) == (np.arange(length) >= length - known[0])).all()
    assert (np.diff(users) >= 0).all()
    assert (sequences.dtype, users.dtype, rows.dtype) == (np.int32, np.int64, np.int64)


def labelled(users, labels):
    return pd.DataFrame({"user": users, "label": labels})


def tables():
    """Ten users with three events each, one with a single event; labels of two kinds."""
    users = [f"u{n}" for n in range(10)]
    rows = [(u, item) for u in users for item in ("b", "c", "a")] + [("once", "a"), ("u9", "rare")]
    likes = labelled([*users, "u0"], ["x", "y"] * 5 + ["z"])
    events = pd.DataFrame(rows, columns=["user", "item"])
    return {"events": events, "T2": likes, "T3": labelled(users, [30, 20] * 5)}


def built(**changes):
    """The stream of the tables, some of which or of the options differ."""
    made = tables() | {"length": 3, "min_events": 2} | changes
    about = ("T2", "ranking", "liked"), ("T3", "classification", "age")
    labels = [LabelTable(*task, made.pop(task[0])) for task in about]
    return assemble("toy", made.pop("events"), labels, title="seen", **made)


def test_assembly_by_hand():
    stream = built()
    assert stream.n_items == 4  # a, b, c, rare
    windows = [[2, 3, 1]] * 9 + [[3, 1, 4]]  # u9's first event would stand alone
    assert stream.sequences.tolist() == windows
    assert stream["T1"].labels.tolist() == [0] * 9 + [3]
    assert stream.input_rows.tolist() == list(range(10))  # "once" has too few events
    assert stream["T2"].users.tolist() == [0, *range(10)]
    assert stream["T2"].labels.tolist() == [0, 2, *[1, 0] * 4, 1]
    assert stream["T3"].labels.tolist() == [1, 0] * 5
    assert [t.n_labels for t in stream.tasks] == [4, 3, 2]
    assert stream.info["classes"] == {"T3": ["20", "30"]}
    assert [t.title for t in stream.tasks] == ["seen", "liked", "age"]


def test_what_is_left_out_is_counted():
    stream = built(min_item_count=2)
    assert stream.n_items == 3
    assert stream.sequences.tolist() == [[2, 3, 1]] * 10
    rare = "items with fewer than 2 events", "events of items with fewer than 2 events"
    few = "users with fewer than 2 events", "events of users with fewer than 2 events"
    assert stream.info["dropped"] == dict.fromkeys((*rare, *few), 1)
    strangers = pd.concat([tables()["T2"], labelled(["once", "new"], ["x", "z"])])
    stream = built(unknown_users="drop", min_label_count=2, T2=strangers)
    assert stream["T2"].n_labels == 2  # z remained once
    lone, once = "oldest events that fill no window", "labels of T2 that occur less than 2 times"
    dropped = dict.fromkeys((*few, lone, once), 1) | {"labels of T2, of users without T1": 2}
    assert stream.info["dropped"] == dropped


def test_events_stand_by_user_and_time():
    columns = {"user": [2, 1, 1, 1, 2], "time": [3, 5, 4, 1, 2], "item": [9, 8, 7, 6, 5]}
    assert in_time_order(pd.DataFrame(columns), 0)["item"].tolist() == [6, 7, 8, 5, 9]


def orders(events, seed=0):
    """What stands first, second and third of every basket."""
    return in_time_order(events, seed)["item"].to_numpy().astype(str).reshape(-1, 3)


@pytest.mark.numerics
@pytest.mark.parametrize("names", ["abc", "cab", [7, 900, 8]])
def test_equal_times_are_in_random_order_whatever_ids_and_rows_say(names):
    """Everybody buys three items at once, and again a day later: each order has its share."""
    rows = [(user, item, day) for user in range(4000) for day in (1, 2) for item in names]
    events = pd.DataFrame(rows, columns=["user", "item", "time"])
    found = orders(events)
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6
    assert abs(counts / len(found) - 1 / 6).max() < 0.02  # five standard deviations
    for rows in (events[::-1], events.sample(frac=1, random_state=0), events.sort_values("item")):
        assert (orders(rows) == found).all()  # the draw belongs to the event, not to the row
    for other in (orders(events, seed=1), found[np.arange(len(found)) ^ 1]):  # a user's other day
        assert abs((other == found).all(axis=1).mean() - 1 / 6) < 0.02


def test_events_that_share_their_time_are_counted_and_told():
    events = tables()["events"].assign(time=[1, 2, 2] * 10 + [1, 2])
    stream = built(events=events)
    assert stream.info["shared_time"] == {"events": 21, "share": 0.6774}
    assert stream.notes()[1].startswith("21 events of T1 (67.7%) share their time with another")
    assert not any("share their time" in note for note in built().notes())
    shuffled = {name: table.sample(frac=1, random_state=0) for name, table in tables().items()}
    shuffled["events"] = events.sample(frac=1, random_state=0)
    assert built(**shuffled).digest() == stream.digest()


NUMBERED = pd.DataFrame({"user": np.repeat(np.arange(10), 3), "item": [*"bca"] * 10})
WRONG = [  # tables or options
    ({"T2": labelled(["u1", "u2", "u1"], [*"xyx"])}, "T2: found user 'u1' with label 'x' again"),
    ({"events": NUMBERED, "T2": labelled([7, 8, 7], [*"xyx"])}, "T2: found user 7 with label 'x'"),
    ({"T2": labelled(["u1", "new"], [*"xy"])}, "T2: found user 'new', who has no T1.*1 such"),
    ({"T2": labelled(["u1", "u2"], ["x", None])}, r"T2 \(liked\): found no label in row 2"),
    ({"T3": labelled(["u1", "u2"], [np.nan, 1.0])}, r"T3 \(age\): found no label in row 1"),
    ({"T2": labelled([], [])}, r"task T2 \(liked\): found no row"),
    ({"T3": labelled(["u1", "u2"], [*"xy"])}, "T3: found 2 instances, expected at least 7"),
    ({"T3": labelled([f"u{n}" for n in range(10)], "x")}, "T3: found 1 distinct label"),
    (
        {"T2": labelled(["new"], ["x"]), "unknown_users": "drop"},
        "'new', none of T1's such as 'u0'",
    ),
    ({"min_events": 9}, "T1 is empty: found no user with 9 events"),
    ({"min_item_count": 2, "min_events": 4}, "T1 is empty"),  # u9 has four, one of a rare item
    ({"length": 1}, "toy, length: found 1, expected"),
    ({"unknown_users": "keep"}, "unknown_users: found 'keep', expected 'error' or 'drop'"),
    ({"split": "1/1"}, "split: found '1/1', expected 'folds', '80/5/15' or '20/80'"),
    ({"lenght": 3}, "toy, lenght: found an unknown field"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_what_cannot_be_used(changes, message):
    with pytest.raises(DataError, match=message):
        built(**changes)
