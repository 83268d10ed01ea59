"""Splits, checks, digests and thinned tasks, worked out by hand or against a plain definition."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import a_task, blocks_of, small_stream
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.data import stream as streams
from conure_lib.data.stream import BLOCKS, TEST, TRAIN, UNUSED, VALIDATION, TaskStream, check
from conure_lib.errors import DataError

SHARES = ["folds", "80/5/15", "20/80"]


@given(n=st.integers(7, 3000), seed=st.integers(0, 99), split=st.sampled_from(SHARES))
def test_blocks_are_a_balanced_draw(n, seed, split):
    blocks = streams.draw_blocks(n, seed, "T2")
    counts = np.bincount(blocks, minlength=BLOCKS)
    assert (blocks.dtype, len(counts)) == (np.uint8, BLOCKS)
    assert counts.max() - counts.min() <= 1
    assert (blocks == streams.draw_blocks(n, seed, "T2")).all()
    for fold in streams.FOLD_SEEDS:  # every instance is in one part, none is empty
        assert set(streams.parts_of(split, fold)[blocks]) == {TRAIN, VALIDATION, TEST}
    with pytest.raises(DataError, match=r"^task T2: found 6 instances, expected at least 7; min"):
        streams.draw_blocks(6, seed, "T2")


@pytest.mark.parametrize("other", [(1, "T2"), (0, "T3")])
def test_blocks_depend_on_seed_and_salt(other):
    same = (streams.draw_blocks(10_000, 0, "T2") == streams.draw_blocks(10_000, *other)).mean()
    assert abs(same - 1 / BLOCKS) < 0.01  # as many in common as by chance


def letters(split, seed):
    """The parts of the 21 blocks, a letter each."""
    return "".join(".vt-"[part] for part in streams.parts_of(split, seed))


def test_the_parts_of_the_blocks():
    for fold in streams.FOLD_SEEDS:  # each instance is tested once; validated is with the same
        before = 3 * (fold - 1)
        assert letters("folds", fold) == "vv" + before * "." + "ttt" + (15 - before) * "." + "-"
    assert letters("folds", 0) == letters("folds", 12) == "vv---" + 15 * "." + "-"
    assert letters("folds", 11) == "vv" + 15 * "." + "----"
    for seed in (0, 1, 6, 7):
        assert letters("80/5/15", seed) == "vttt" + 16 * "." + "-"
        assert letters("20/80", seed) == "v" + 15 * "t" + "....-"


# the sequences of users 0, 0, 1, 2
SEQUENCES = np.array([[0, 1, 2], [3, 2, 1], [0, 2, 3], [1, 2, 3]], dtype=np.int32)
PARTS = [0, 1, 2, 0]


def toy():
    """Three users, three items, a ranking and a classification task: the smallest valid stream."""
    first = a_task("sequence", [0, 0, 1, 2], SEQUENCES[:, -1] - 1, 3, PARTS, "T1")
    clicks = a_task("ranking", [2, 0, 0, 1], [1, 0, 3, 3], 4, PARTS, "T2")
    ages = a_task("classification", [2, 1, 0], [1, 0, 1], 2, PARTS[:3], "T3")
    rows, tasks = np.array([1, 2, 3]), (first, clicks, ages)
    return TaskStream("toy", SEQUENCES.copy(), rows, 3, tasks, {"source": "hand"})


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
    assert check(stream) is stream
    assert stream.label_counts(stream["T1"]).tolist() == [2, 2, 1]  # rows 0 and 3 train
    assert stream.label_counts(stream["T2"]).tolist() == [0, 1, 0, 1]
    assert stream.label_counts(stream["T1"].thinned(0.5)).sum() < 5
    assert [stream["T2"].rows(part).tolist() for part in (TRAIN, TEST)] == [[0, 3], [2]]
    row = {"dataset": "toy", "task": "T2", "kind": "ranking", "what": "toy", "instances": 4}
    row |= {"labels": 4, "users": 3, "train": 2, "validation": 1, "test": 1}
    assert stream.describe()[1] == row
    with pytest.raises(KeyError, match="toy has no task 'T9'; it has T1, T2, T3"):
        stream["T9"]


def test_items_are_counted_block_by_block(monkeypatch):
    stream = small_stream()
    train = stream.sequences[stream["T1"].rows(TRAIN)]
    whole = [int((train == item).sum()) for item in range(1, stream.n_items + 1)]
    for block in (1 << 16, 7, len(train), len(train) - 1):
        monkeypatch.setattr(streams, "COUNTED_AT_ONCE", block)
        assert stream.label_counts(stream["T1"]).tolist() == whole


EMPTY = {name: np.array([], int) for name in ("users", "labels", "blocks")}
DEFECTS = {
    "the first task, and no other, must": lambda s: with_task(s, 1, kind="sequence"),
    "task names repeat": lambda s: with_task(s, 2, name="T2"),
    "sequences: found shape": lambda s: replace(s, sequences=s.sequences[:, :1]),
    "expected .4 instances of T1, L >= 2": lambda s: replace(s, sequences=s.sequences[:3]),
    "T2, kind: found 'rank', expected one of": lambda s: with_task(s, 1, kind="rank"),
    "two items at its end, and padding": lambda s: with_item(s, 0, 1, 0),
    "padding on its left only": lambda s: replace(
        s, sequences=np.hstack([SEQUENCES[:, [0]] * 0 + 1, SEQUENCES * [0, 1, 1]]).astype(np.int32)
    ),
    "an item id outside 1..3": lambda s: with_item(s, 1, 0, 4),
    "input_rows must hold for every": lambda s: replace(s, input_rows=np.array([1, 2, 4])),
    "sequences, the user's own": lambda s: replace(s, input_rows=np.array([2, 1, 3])),
    "be its sequences' last": lambda s: with_task(s, 0, labels=s["T1"].labels[::-1].copy()),
    "out of all items": lambda s: with_task(s, 0, n_labels=9),
    "task T2 is empty, or": lambda s: with_task(s, 1, **EMPTY),
    "or its arrays differ in length": lambda s: with_task(s, 1, labels=s["T2"].labels[:3]),
    "task T2: a label of an unknown user": lambda s: with_task(s, 1, users=np.array([2, 0, 0, 3])),
    "task T2: a label outside 0..3": lambda s: with_task(s, 1, labels=np.array([1, 0, 4, 3])),
    "found 1 distinct label": lambda s: with_task(s, 1, labels=np.zeros(4, int), n_labels=1),
    "T2: its train part is empty": lambda s: with_task(s, 1, blocks=blocks_of([1, 1, 2, 2])),
    "T3: its validation part is empty": lambda s: with_task(s, 2, blocks=blocks_of([0, 0, 2])),
    "T3: its test part is empty": lambda s: with_task(s, 2, blocks=blocks_of([0, 0, 1])),
    "groups must hold": lambda s: replace(s, groups=np.array([0, 1], np.int32)),
    "T2: a block outside 0..20": lambda s: with_task(s, 1, blocks=np.array([0, 2, 4, 21])),
    "T2 holds a .* instance twice": lambda s: with_task(s, 1, labels=np.array([1, 3, 3, 3])),
}


@pytest.mark.parametrize("message", DEFECTS)
def test_a_defect_is_named(message):
    with pytest.raises(DataError, match=rf"^toy: .*{message}"):
        check(DEFECTS[message](toy()))


def test_notes_tell_what_was_dropped_and_what_cannot_be_learned():
    stream = replace(toy(), info={"dropped": {"users": 3, "items": 1}, "notes": ["no time"]})
    assert stream.notes()[:2] == ["dropped: 3 users; 1 items", "no time"]
    each = with_task(stream, 2, labels=np.array([2, 1, 0]), n_labels=3).notes()[-1]
    assert each == "task T3: found 3 classes, each with one user: nothing can be learned"
    never = with_task(stream, 2, blocks=blocks_of([1, 0, 2])).notes()[-1]
    assert never == "task T3: found 2 classes, 1 of them never in the training part"


def test_the_digest_covers_all_that_results_depend_on():
    stream = toy()
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
        with_task(stream, 1, users=np.array([1, 0, 0, 2])),
        with_task(stream, 1, labels=np.array([3, 3, 0, 1])),
        replace(stream, split="80/5/15"),
        replace(stream, groups=np.array([0, 1, 0], np.int32)),
        replace(stream, groups=np.array([0, 1, 1], np.int32)),
        with_task(stream, 1, blocks=blocks_of([0, 1, 2, 1])),
    ]
    assert len({s.digest() for s in [stream, *changed]}) == len(changed) + 1
    same = [
        toy(),
        replace(stream, info={}),
        stream.fold(2),
        with_task(stream, 1, title="another"),
        replace(stream, sequences=np.asfortranarray(stream.sequences)),
    ]
    assert {s.digest() for s in same} == {stream.digest()}
    digest = "356e1d3eedf291adef428d7e5e60b56452d9009e6c7f9d223fe8e3edf12cc32e"
    assert stream.digest() == digest  # everywhere


@given(st.integers(1, 300), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 99))
def test_a_thinned_task_keeps_a_share_of_its_training_part(n, share, other, seed):
    generator = np.random.default_rng(seed)
    split = generator.integers(0, 3, 2 * n, dtype=np.uint8)
    split[:3] = np.arange(3)[: len(split)]
    task = a_task("ranking", np.arange(2 * n), generator.integers(0, 7, 2 * n), 7, split)
    few, train = task.thinned(share), task.rows(TRAIN)
    assert (task.split == split).all()
    assert vars(few) | {"blocks": 0} == vars(task) | {"blocks": 0}  # the rest is the same
    assert set(few.rows(TRAIN)) <= set(train)
    assert len(few.rows(TRAIN)) == max(1, round(share * len(train)))  # one is left at least
    assert set(few.split[train]) <= {TRAIN, UNUSED}
    assert (np.delete(few.split, train) == np.delete(split, train)).all()
    assert (task.thinned(share).split == few.split).all()  # the same ones every time
    less, more = (set(task.thinned(s).rows(TRAIN)) for s in sorted((share, other)))
    assert less <= more  # what a smaller share keeps, a larger one keeps too
    assert task.thinned(1) is task
