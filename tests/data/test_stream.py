"""Splits, checks, windows and joins worked out by hand; streams on disk whole or not at all."""

import contextlib
import json
import os
import platform
import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import a_task, files_below, small_stream
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from conure_lib import paths
from conure_lib.config import DataConfig
from conure_lib.data import cache as store
from conure_lib.data import registry as data
from conure_lib.data.assemble import LabelTable, assemble, cut_windows
from conure_lib.data.cache import MANIFEST, STORED, load_stream, prepared, save_stream
from conure_lib.data.stream import (
    SPLITS,
    TEST,
    TRAIN,
    UNUSED,
    VALIDATION,
    TaskStream,
    checked,
    distinct,
    draw_split,
)
from conure_lib.errors import DataError, StorageError
from conure_lib.files import (
    atomic_file,
    atomic_folder,
    file_lock,
    remove_leftovers,
    temporary_folder,
)

# --- splits ----------------------------------------------------------------------------------------------


@given(n=st.integers(10, 3000), shares=st.sampled_from(sorted(SPLITS)), seed=st.integers(0, 99))
def test_a_split_has_its_shares(n, shares, seed):
    split = draw_split(n, shares, seed, "T2")
    assert split.dtype == np.uint8
    assert set(split) == {
        TRAIN,
        VALIDATION,
        TEST,
    }  # every instance is in one part, no part is empty
    for part, share in zip((TRAIN, VALIDATION, TEST), SPLITS[shares], strict=True):
        assert abs((split == part).sum() - share * n) <= 1.5
    assert (split == draw_split(n, shares, seed, "T2")).all()


@pytest.mark.parametrize("other", [("80/5/15", 1, "T2"), ("80/5/15", 0, "T3"), ("20/80", 0, "T2")])
def test_a_split_depends_on_shares_seed_and_salt(other):
    train = draw_split(1000, "80/5/15", 0, "T2") == TRAIN
    expected = {"80/5/15": 0.8, "20/80": 0.2}[
        other[0]
    ]  # independent: as many in common as by chance
    assert abs((draw_split(1000, *other) == TRAIN)[train].mean() - expected) < 0.06


def test_a_split_is_random():
    split = draw_split(10_000, "80/5/15", 0, "T2")
    thirds = [(part == TRAIN).mean() for part in np.array_split(split, 5)]
    assert all(abs(share - 0.8) < 5 * (0.8 * 0.2 / 2000) ** 0.5 for share in thirds)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
def test_too_few_instances_to_split(n):
    with pytest.raises(DataError, match=f"task T2: {n} instances are too few"):
        draw_split(n, "80/5/15", 0, "T2")


def test_unknown_shares():
    with pytest.raises(DataError, match="'90/10' is unknown; use one of 80/5/15"):
        draw_split(100, "90/10", 0, "T2")


# --- streams ---------------------------------------------------------------------------------------------

SEQUENCES = np.array(
    [[0, 1, 2], [3, 2, 1], [0, 2, 3], [1, 2, 3]], dtype=np.int32
)  # of users 0, 0, 1, 2
PARTS = [0, 1, 2, 0]


def toy():
    """Three users, three items, a ranking and a classification task: the smallest valid stream."""
    first = a_task("sequence", [0, 0, 1, 2], SEQUENCES[:, -1] - 1, 3, PARTS, "T1")
    clicks = a_task("ranking", [2, 0, 0, 1], [1, 0, 3, 3], 4, PARTS, "T2")
    ages = a_task("classification", [2, 1, 0], [1, 0, 1], 2, PARTS[:3], "T3")
    return TaskStream(
        "toy", SEQUENCES.copy(), np.array([1, 2, 3]), 3, (first, clicks, ages), {"source": "hand"}
    )


def with_task(stream, number, **changes):
    tasks = list(stream.tasks)
    tasks[number] = replace(tasks[number], **changes)
    return replace(stream, tasks=tuple(tasks))


def with_item(stream, row, column, item):
    sequences = stream.sequences.copy()
    sequences[row, column] = item
    return replace(stream, sequences=sequences)


def test_a_sound_stream_passes():
    stream = toy()
    assert checked(stream) is stream
    assert stream.n_users == 3
    assert stream.item_counts().tolist() == [2, 2, 1]  # rows 0 and 3 train
    assert stream["T2"].label_counts().tolist() == [0, 1, 0, 1]
    assert stream["T2"].rows(TRAIN).tolist() == [0, 3]
    assert stream["T2"].rows(TEST).tolist() == [2]
    assert stream.describe()[1] == {
        "dataset": "toy",
        "task": "T2",
        "kind": "ranking",
        "what": "toy",
        "instances": 4,
        "labels": 4,
        "users": 3,
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    with pytest.raises(KeyError, match="toy has no task 'T9'; it has T1, T2, T3"):
        stream["T9"]


def test_items_are_counted_block_by_block(monkeypatch):
    stream = small_stream()
    train = stream.sequences[stream["T1"].rows(TRAIN)]
    whole = [int((train == item).sum()) for item in range(1, stream.n_items + 1)]
    for block in (1 << 16, 7, len(train), len(train) - 1):
        monkeypatch.setattr("conure_lib.data.stream.BLOCK", block)
        assert stream.item_counts().tolist() == whole


DEFECTS = {
    "the first task must be the sequence task": lambda s: replace(s, tasks=s.tasks[1:]),
    "only the first task may be a sequence task": lambda s: with_task(s, 1, kind="sequence"),
    "task names repeat": lambda s: with_task(s, 2, name="T2"),
    "sequences have shape": lambda s: replace(s, sequences=s.sequences[:, :1]),
    "one user per sequence": lambda s: replace(s, sequences=s.sequences[:3]),
    "fewer than two items at its end": lambda s: with_item(s, 0, 1, 0),
    "padding stands inside": lambda s: replace(
        s,
        sequences=np.hstack([s.sequences[:, [0]] * 0 + 1, s.sequences * [0, 1, 1]]).astype(
            np.int32
        ),
    ),
    "item id lies outside 1..3": lambda s: with_item(s, 1, 0, 4),
    "item id lies outside": lambda s: with_item(s, 1, 0, -1),
    "a user has no T1 sequence": lambda s: replace(s, input_rows=np.array([-1, 2, 3])),
    "points behind the last sequence": lambda s: replace(s, input_rows=np.array([1, 2, 4])),
    "somebody else's sequence": lambda s: replace(s, input_rows=np.array([2, 1, 3])),
    "a label of T1 is not its sequence's last item": lambda s: with_task(
        s, 0, labels=s["T1"].labels[::-1].copy()
    ),
    "T1 has 9 labels, not 3": lambda s: with_task(s, 0, n_labels=9),
    r"task T2 \(toy\) is empty": lambda s: with_task(
        s, 1, **{a: np.array([], int) for a in ARRAYS}
    ),
    "arrays differ in length": lambda s: with_task(s, 1, labels=s["T2"].labels[:3]),
    "task T2: a label of an unknown user": lambda s: with_task(s, 1, users=np.array([2, 0, 0, 3])),
    "task T2: label outside 0..3": lambda s: with_task(s, 1, labels=np.array([1, 0, 4, 3])),
    "task T2: label outside": lambda s: with_task(s, 1, labels=np.array([1, 0, -1, 3])),
    "T2 has 1 distinct label": lambda s: with_task(s, 1, labels=np.zeros(4, int), n_labels=1),
    "T2: its training part is empty": lambda s: with_task(s, 1, split=np.array([1, 1, 2, 2])),
    "T3: its validation part is empty": lambda s: with_task(s, 2, split=np.array([0, 0, 2])),
    "T3: its test part is empty": lambda s: with_task(s, 2, split=np.array([0, 0, 1])),
    "T2 holds a .* instance twice": lambda s: with_task(s, 1, labels=np.array([1, 3, 3, 3])),
    "there is no sequence": lambda s: replace(
        with_task(s, 0, **{a: np.array([], int) for a in ARRAYS}), sequences=s.sequences[:0]
    ),
}
ARRAYS = ("users", "labels", "split")


@pytest.mark.parametrize("message", DEFECTS)
def test_a_defect_is_named(message):
    with pytest.raises(DataError, match=rf"^toy: .*{message}"):
        checked(DEFECTS[message](toy()))


@given(
    npst.arrays(
        np.int64, st.integers(0, 30), elements=st.integers(-3, 9) | st.integers(-(2**63), 2**63 - 1)
    )
)
def test_distinct_values_are_numpys(values):
    found = distinct(values)
    assert found.dtype == np.int64
    assert found.tolist() == np.unique(values).tolist()


def test_the_digest_covers_all_that_results_depend_on():
    stream = toy()
    users, labels = stream["T2"].users, stream["T2"].labels
    changed = [
        replace(stream, name="other"),
        replace(stream, n_items=4),
        replace(stream, tasks=stream.tasks[:2]),
        with_item(stream, 1, 0, 1),
        replace(stream, sequences=stream.sequences.astype(np.int64)),
        replace(stream, input_rows=np.array([0, 2, 3])),
        with_task(stream, 1, name="T9"),
        with_task(stream, 1, kind="classification"),
        with_task(stream, 1, n_labels=5),
        with_task(stream, 1, users=users[::-1].copy()),
        with_task(stream, 1, labels=labels[::-1].copy()),
        with_task(stream, 1, users=labels, labels=users),
        with_task(stream, 1, split=np.array([0, 1, 2, 1], np.uint8)),
    ]
    assert len({s.digest() for s in [stream, *changed]}) == len(changed) + 1
    same = [
        toy(),
        replace(stream, info={}),
        with_task(stream, 1, title="another"),
        replace(stream, sequences=np.asfortranarray(stream.sequences)),
    ]
    assert {s.digest() for s in same} == {stream.digest()}


def test_the_digest_is_the_same_everywhere():
    assert toy().digest() == "38d87859b8c8686053934dd334eb249825e41a33076975174ac3fcb044337774"


def marked(task):
    """The rows of each part, as sets."""
    return {part: set(task.rows(part).tolist()) for part in (TRAIN, VALIDATION, TEST, UNUSED)}


@given(
    n=st.integers(1, 300),
    share=st.floats(0.001, 1),
    other=st.floats(0.001, 1),
    seed=st.integers(0, 99),
)
def test_a_thinned_task_keeps_a_share_of_its_training_part(n, share, other, seed):
    generator = np.random.default_rng(seed)
    split = generator.integers(0, 3, 2 * n, dtype=np.uint8)
    split[:3] = np.arange(3)[: len(split)]
    task = a_task("ranking", np.arange(2 * n), generator.integers(0, 7, 2 * n), 7, split)
    whole, few = marked(task), marked(task.thinned(share))
    assert few[TRAIN] <= whole[TRAIN]
    assert len(few[TRAIN]) == max(
        1, round(share * len(whole[TRAIN]))
    )  # at least one instance is left
    assert few[UNUSED] == whole[TRAIN] - few[TRAIN]
    assert (few[VALIDATION], few[TEST]) == (whole[VALIDATION], whole[TEST])
    assert marked(task.thinned(share)) == few  # the same ones every time
    less, more = (marked(task.thinned(s))[TRAIN] for s in sorted((share, other)))
    assert less <= more  # what a smaller share keeps, a larger one keeps too


def test_a_thinned_task_is_the_same_task_but_for_its_marks():
    task = small_stream(n_users=200)["T3"]
    before = task.split.copy()
    few = task.thinned(0.25)
    assert (task.split == before).all()
    assert few.split.dtype == np.uint8
    assert (few.name, few.kind, few.title, few.n_labels) == (
        task.name,
        task.kind,
        task.title,
        task.n_labels,
    )
    assert few.users is task.users
    assert few.labels is task.labels
    assert task.thinned(1) is task
    assert task.thinned(1.0) is task
    expected = np.bincount(task.labels[few.split == TRAIN], minlength=task.n_labels)
    assert few.label_counts().tolist() == expected.tolist()
    assert few.label_counts().sum() == round(0.25 * len(task.rows(TRAIN)))


def test_a_thinned_task_takes_its_instances_from_everywhere():
    """Not the first ones: users of all parts of the table stay."""
    split = np.zeros(4000, np.uint8)
    kept = (
        a_task("classification", np.arange(4000), np.zeros(4000), 2, split)
        .thinned(0.25)
        .rows(TRAIN)
    )
    quarters = np.bincount(kept // 1000, minlength=4) / 1000
    assert np.abs(quarters - 0.25).max() < 5 * (0.25 * 0.75 / 1000) ** 0.5


def test_a_stream_with_a_thinned_task_is_sound_and_says_what_it_uses():
    stream = small_stream(n_users=200)
    few = stream["T3"].thinned(0.25)
    thinned = replace(stream, tasks=tuple(few if t.name == "T3" else t for t in stream.tasks))
    assert checked(thinned) is thinned
    assert thinned.digest() != stream.digest()
    (row,) = (row for row in thinned.describe() if row["task"] == "T3")
    assert row["train"] == len(few.rows(TRAIN)) < len(stream["T3"].rows(TRAIN))


# --- assembly --------------------------------------------------------------------------------------------


def cut(histories, length, least):
    """Windows of each user's history, and the user and input rows, through ``cut_windows``."""
    who = np.repeat(np.arange(len(histories)), [len(h) for h in histories])
    return cut_windows(who, np.concatenate(histories), len(histories), length, least)


def test_windows_by_hand():
    histories = [[1, 2], [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 5, 6, 7, 8], [9, 8, 7]]
    sequences, users, rows = cut(histories, length=3, least=2)
    assert sequences.tolist() == [
        [0, 1, 2],
        [2, 3, 4],
        [5, 6, 7],  # the first item would stand alone: dropped
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
        [9, 8, 7],
    ]
    assert users.tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert rows.tolist() == [0, 2, 5, 6]
    assert (sequences.dtype, users.dtype, rows.dtype) == (np.int32, np.int64, np.int64)


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
        dropped = len(history) - len(items)
        assert items == history[dropped:]
        assert dropped < min(least, length)
        assert dropped == 0 or (len(items) % length == 0 and items)
        assert rows[user] == np.flatnonzero(users == user)[-1]
        assert (own[1:] > 0).all()  # only a first window is padded, on its left
        assert ((own[0] > 0) == (np.arange(length) >= length - (own[0] > 0).sum())).all()
    assert (np.diff(users) >= 0).all()


def tables(**changes):
    """Ten users with three events each, one with a single event, ranking and classification labels."""
    users = [f"u{n}" for n in range(10)]
    rows = [(u, item) for u in users for item in ("b", "c", "a")] + [("once", "a"), ("u9", "rare")]
    made = {
        "events": pd.DataFrame(rows, columns=["user", "item"]),
        "T2": pd.DataFrame({"user": [*users, "u0"], "label": ["x", "y"] * 5 + ["z"]}),
        "T3": pd.DataFrame({"user": users, "label": [30, 20] * 5}),
    }
    return made | changes


def built(options=None, **changes):
    made = tables(**changes)
    labels = [
        LabelTable("T2", "ranking", "liked", made["T2"]),
        LabelTable("T3", "classification", "age", made["T3"]),
    ]
    options = {"length": 3, "min_events": 2} | (options or {})
    return assemble("toy", made["events"], labels, title="seen", **options)


def test_assembly_by_hand():
    stream = built()
    assert stream.n_items == 4  # a, b, c, rare
    assert stream.sequences.tolist() == [[2, 3, 1]] * 9 + [
        [3, 1, 4]
    ]  # u9's first event would stand alone
    assert stream["T1"].labels.tolist() == [0] * 9 + [3]
    assert stream.input_rows.tolist() == list(range(10))  # "once" has too few events
    assert stream["T2"].users.tolist() == [*range(10), 0]
    assert stream["T2"].labels.tolist() == [0, 1] * 5 + [2]
    assert stream["T3"].labels.tolist() == [1, 0] * 5
    assert [t.n_labels for t in stream.tasks] == [4, 3, 2]
    assert stream.info["classes"] == {"T3": ["20", "30"]}
    assert [t.title for t in stream.tasks] == ["seen", "liked", "age"]


def test_rare_items_labels_and_unknown_users_go():
    stream = built({"min_item_count": 2})
    assert stream.n_items == 3
    assert stream.sequences.tolist() == [[2, 3, 1]] * 10
    labels = tables()["T2"]
    strangers = pd.concat([labels, pd.DataFrame({"user": ["once", "new"], "label": ["x", "z"]})])
    stream = built({"unknown_users": "drop", "min_label_count": 2}, T2=strangers)
    assert stream["T2"].n_labels == 2  # z remained once
    assert stream.info["dropped_labels"] == {"T2": 3, "T3": 0}


def test_several_windows_and_the_latest_as_input():
    stream = built({"length": 2, "min_events": 2})
    assert stream.sequences.tolist() == [[3, 1]] * 9 + [[2, 3], [1, 4]]
    assert stream.input_rows.tolist() == [*range(9), 10]
    assert stream["T1"].users.tolist() == [*range(10), 9]


def labelled(users, labels):
    return pd.DataFrame({"user": users, "label": labels})


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        (
            {"T2": labelled(["u1", "u2", "u1"], ["x", "y", "x"])},
            {},
            "T2: user 'u1' has label 'x' twice",
        ),
        (
            {"T2": labelled(["u1", "new"], ["x", "y"])},
            {},
            r"T2 has a label of user 'new', who has no T1.*1 such",
        ),
        ({"T2": labelled(["u1", "u2"], ["x", None])}, {}, "T2: row 1 has no label"),
        ({"T3": labelled(["u1", "u2"], [np.nan, 1.0])}, {}, "T3: row 0 has no label"),
        ({"T2": labelled([], [])}, {}, r"task T2 \(liked\) is empty"),
        (
            {"T2": labelled(["new"], ["x"])},
            {"unknown_users": "drop"},
            "T2: 0 instances are too few",
        ),
        ({"T3": labelled(["u1", "u2"], ["x", "y"])}, {}, "T3: 2 instances are too few"),
        ({"T3": labelled([f"u{n}" for n in range(10)], ["x"] * 10)}, {}, "T3 has 1 distinct label"),
        ({}, {"min_events": 9}, "T1 is empty: no user has 9 events"),
        ({}, {"min_item_count": 99}, "T1 is empty"),
        (
            {},
            {"min_item_count": 2, "min_events": 4},
            "T1 is empty",
        ),  # u9 has four, one of them rare: items first
        ({}, {"length": 1}, "length=1"),
        ({}, {"min_events": 1}, "min_events=1"),
        ({}, {"unknown_users": "keep"}, "unknown_users='keep'; use 'error' or 'drop'"),
        ({}, {"split": "1/1"}, "split '1/1' is unknown"),
    ],
)
def test_tables_that_cannot_be_used(changes, options, message):
    with pytest.raises(DataError, match=message):
        built(options, **changes)


# --- on disk ---------------------------------------------------------------------------------------------


def test_a_stored_stream_comes_back(tmp_path):
    stream = built()
    save_stream(stream, tmp_path / "s")
    again = load_stream(tmp_path / "s")
    assert again.digest() == stream.digest()
    assert (again.describe(), again.info) == (stream.describe(), stream.info)
    manifest = json.loads((tmp_path / "s" / MANIFEST).read_text())
    assert (manifest["digest"], manifest["n_users"]) == (stream.digest(), 10)
    save_stream(stream, tmp_path / "t")
    assert files_below(tmp_path / "s") == files_below(tmp_path / "t")


def arrays_of(stream):
    yield from (stream.sequences, stream.input_rows)
    for task in stream.tasks:
        yield from (task.users, task.labels, task.split)


MAPS = Path("/proc/self/maps")


@pytest.mark.skipif(not MAPS.exists(), reason="this system does not tell what is mapped")
def test_loaded_arrays_lie_in_the_file(tmp_path):
    save_stream(small_stream(), tmp_path / "s")
    stream = load_stream(tmp_path / "s")
    mapped = [
        line.split()[0].split("-")
        for line in MAPS.read_text().splitlines()
        if str(tmp_path) in line
    ]
    spans = [(int(start, 16), int(end, 16)) for start, end in mapped]
    for array in arrays_of(stream):
        assert not array.flags.owndata
        assert any(
            start <= array.ctypes.data and array.ctypes.data + array.nbytes <= end
            for start, end in spans
        )


def test_changes_of_a_loaded_stream_stay_in_memory(tmp_path):
    save_stream(toy(), tmp_path / "s")
    before = files_below(tmp_path)
    for array in arrays_of(load_stream(tmp_path / "s")):
        array[...] = 0
    assert files_below(tmp_path) == before
    assert load_stream(tmp_path / "s").digest() == toy().digest()


def test_loading_holds_a_fraction_of_the_stream(tmp_path):
    save_stream(small_stream(n_users=20_000, length=100), tmp_path / "s")
    tracemalloc.start()
    try:
        stream = load_stream(tmp_path / "s")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(array.nbytes for array in arrays_of(stream))
    assert size > 9e6
    assert peak < 0.6 * size  # the checks: a byte for each item (four in the file), twice
    assert held < 0.05 * size


def _arrays(folder, change):
    arrays = {name: array.copy() for name, array in load_file(folder / STORED).items()}
    change(arrays)
    save_file(arrays, folder / STORED)


def _manifest(folder, change):
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _cut(path, end):
    path.write_bytes(path.read_bytes()[:end])


def _flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: (f / STORED).unlink(), f"{STORED}: not a stream"),
        (lambda f: (f / MANIFEST).unlink(), f"{MANIFEST}: not the manifest"),
        (lambda f: (f / MANIFEST).write_text("{"), f"{MANIFEST}: not the manifest"),
        (lambda f: (f / MANIFEST).write_text("[]"), f"as its {MANIFEST} says"),
        (lambda f: (f / STORED).write_bytes(b"x" * 99), f"{STORED}: not a stream"),
        (lambda f: (f / STORED).write_bytes(b""), f"{STORED}: not a stream"),
        (lambda f: _cut(f / STORED, -1), f"{STORED}: not a stream"),
        (lambda f: _cut(f / STORED, 200), f"{STORED}: not a stream"),  # inside the header
        (lambda f: _cut(f / STORED, 4), f"{STORED}: not a stream"),
        (lambda f: _flip(f / STORED, -1), rf"{STORED}: its content does not have the digest"),
        (lambda f: _arrays(f, lambda a: a.pop("T2.labels")), "T2.labels"),
        (lambda f: _arrays(f, lambda a: a["T2.labels"].sort()), "digest"),
        (lambda f: _manifest(f, lambda m: m.pop("n_items")), "n_items"),
        (lambda f: _manifest(f, lambda m: m.pop("digest")), "digest"),
        (lambda f: _manifest(f, lambda m: m["tasks"].pop()), "digest"),
        (lambda f: _manifest(f, lambda m: m["tasks"][1].update(kind="classification")), "digest"),
    ],
)
def test_a_damaged_stream_is_named(tmp_path, damage, named):
    folder = tmp_path / "s"
    save_stream(toy(), folder)
    damage(folder)
    with pytest.raises(DataError, match=rf"{folder}.*{named}.*delete the folder"):
        load_stream(folder)


def test_a_stored_stream_is_checked_again(tmp_path, monkeypatch):
    save_stream(DEFECTS["somebody else's sequence"](toy()), tmp_path / "s")
    with pytest.raises(DataError, match="somebody else"):
        load_stream(tmp_path / "s")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_exception_leaves_nothing_behind(tmp_path, error):
    def fail():
        with atomic_folder(tmp_path / "a" / "b") as folder:
            (folder / "half").write_text("done")
            assert folder.name.startswith(".")
            assert not (tmp_path / "a" / "b").exists()
            raise error

    with pytest.raises(error):
        fail()
    assert list((tmp_path / "a").iterdir()) == []


def test_a_whole_folder_takes_its_name_at_the_end(tmp_path):
    with atomic_folder(tmp_path / "b") as folder:
        (folder / "file").write_text("mine")
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    with atomic_folder(tmp_path / "b") as folder:  # somebody else was quicker: theirs stays
        (folder / "file").write_text("late")
    assert files_below(tmp_path) == {"b/file": b"mine"}
    (tmp_path / "c").write_text("a file")
    with pytest.raises(OSError, match="c"), atomic_folder(tmp_path / "c"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b", "c"]


def test_what_killed_processes_left_is_swept_away_and_nothing_else(tmp_path):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    mine = temporary_folder("a", tmp_path)
    dead = tmp_path / mine.name.replace(f"@{os.getpid()}-", f"@{int(gone.stdout)}-")
    elsewhere = tmp_path / dead.name.replace(platform.node(), "another-machine")
    for folder in (dead, elsewhere, tmp_path / "a", tmp_path / ".hidden"):
        folder.mkdir()
        (folder / "file").write_text("x")
    assert remove_leftovers(tmp_path) == [dead]
    assert sorted(tmp_path.iterdir()) == sorted(
        [mine, elsewhere, tmp_path / "a", tmp_path / ".hidden"]
    )
    assert remove_leftovers(tmp_path / "missing") == []


def test_what_a_dead_process_left_is_swept_before_anybody_reaped_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended and stays a zombie
    folder = tmp_path / temporary_folder("a", tmp_path).name.replace(
        f"@{os.getpid()}-", f"@{process.pid}-"
    )
    folder.mkdir()
    assert remove_leftovers(tmp_path) == [folder]
    process.wait()


def test_a_whole_file_takes_its_name_at_the_end(tmp_path):
    target = tmp_path / "t.csv"
    target.write_text("old")
    with contextlib.suppress(KeyError), atomic_file(target) as part:
        part.write_text("half")
        raise KeyError
    assert files_below(tmp_path) == {"t.csv": b"old"}
    with atomic_file(target) as part:
        assert (part.name, target.read_text()) == ("t.csv", "old")
        part.write_text("new")
    assert files_below(tmp_path) == {"t.csv": b"new"}
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize("writer", [atomic_folder, atomic_file])
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left")]
)
def test_a_failed_write_names_the_file_and_the_mend(tmp_path, writer, error):
    target = tmp_path / "b"
    with (
        pytest.raises(
            StorageError, match=rf"{target} cannot be written \(.*No space left.*make room"
        ),
        writer(target),
    ):
        raise error
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="file cannot be written"),
        writer(tmp_path / "file" / "b"),
    ):
        pass


def test_one_process_at_a_time_has_a_folder_in_hand(tmp_path):
    order, inside = [], threading.Event()

    def second():
        inside.wait()
        with file_lock(tmp_path / "a"):
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with file_lock(tmp_path / "a"), file_lock(tmp_path / "b"):  # others are not in the way
        inside.set()
        thread.join(0.3)
        assert thread.is_alive()
        assert remove_leftovers(tmp_path) == []  # takes no lock away that is held
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from conure_lib.whole import alone
with alone(Path({str(tmp_path)!r}, "a")):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert [p.name for p in tmp_path.iterdir()] == [".a.lock"]
    with file_lock(tmp_path / "a"):
        pass
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".b.lock").touch()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_files_are_as_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        save_stream(toy(), tmp_path / "s")
    finally:
        os.umask(before)
    modes = {
        p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "s", *(tmp_path / "s").iterdir())
    }
    assert modes == {"s": 0o750, STORED: 0o640, MANIFEST: 0o640}


def test_a_stream_is_prepared_once(tmp_path):
    calls = []

    def build():
        calls.append(1)
        return toy()

    one, other = (prepared(tmp_path / "s", build) for _ in range(2))
    assert calls == [1]
    assert one.digest() == other.digest() == toy().digest()


def test_a_damaged_stream_is_named_and_prepared_anew(tmp_path, capsys):
    save_stream(toy(), tmp_path / "s")
    before = files_below(tmp_path)
    for damage in (lambda f: _flip(f / STORED, -1), lambda f: (f / MANIFEST).write_text("{")):
        damage(tmp_path / "s")
        assert prepared(tmp_path / "s", toy).digest() == toy().digest()
        assert str(tmp_path / "s") in capsys.readouterr().err
        assert files_below(tmp_path) == before


def test_a_sound_stream_is_read_where_nothing_can_be_written(tmp_path, monkeypatch):
    save_stream(toy(), tmp_path / "s")
    monkeypatch.setattr(store, "alone", None)
    assert prepared(tmp_path / "s", toy).digest() == toy().digest()


def test_a_damaged_stream_is_not_replaced_by_another(tmp_path, capsys):
    """Its source changed meanwhile: results that exist belong to the stream of before."""
    save_stream(toy(), tmp_path / "s")
    _flip(tmp_path / "s" / STORED, -1)
    before = files_below(tmp_path)
    with pytest.raises(
        DataError, match=rf"{MANIFEST}: found digest {toy().digest()}, but what is prepared now has"
    ):
        prepared(tmp_path / "s", lambda: replace(toy(), n_items=4))
    assert files_below(tmp_path) == before


SMALL = {"n_users": 60, "n_items": 64, "n_labels": 16, "length": 6}


def test_loading_by_name(root, monkeypatch):
    stream = data.load(DataConfig("synthetic", SMALL))
    assert stream.digest() == data.synthetic.build(**SMALL).digest()
    assert len(list(paths.streams().iterdir())) == 1
    assert paths.streams().is_relative_to(root)
    monkeypatch.setattr(store, "save_stream", None)  # a second time nothing is built
    assert (
        data.load(DataConfig("synthetic", dict(reversed(SMALL.items())))).digest()
        == stream.digest()
    )
    monkeypatch.undo()
    assert data.load(DataConfig("synthetic", {**SMALL, "seed": 1})).digest() != stream.digest()


def test_unknown_datasets_and_options(root):
    with pytest.raises(DataError, match="'mars' is unknown; known are synthetic"):
        data.load(DataConfig("mars"))
    with pytest.raises(DataError, match="synthetic has no option 'users'; it has n_users"):
        data.load(DataConfig("synthetic", {"users": 5}))
    assert not paths.streams().exists()
