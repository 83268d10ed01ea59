"""Generated data: the same for the same seed, and each dial does what it says."""

import numpy as np
import pytest
from helpers import SMALL

from conure_lib.data.sources.synthetic import COMMUNITIES, FLAVOURS, best_possible, build
from conure_lib.errors import DataError

N_ITEMS, N_LABELS = 128, 256
BLOCK = N_ITEMS // COMMUNITIES
CELL = BLOCK // FLAVOURS
PLANTED = {"n_users": 1500, "n_items": N_ITEMS, "n_labels": N_LABELS, "length": 12}
PLANTED |= {"structure": 0.0, "taste": 1.0, "profile_signal": 1.0, "half_full": 0.0}
NOISE = dict.fromkeys(("structure", "taste", "signal", "profile_signal"), 0.0)


def planted(**dials):
    """Build a stream and return its users' traits, which T1 and T4 of PLANTED show clearly."""
    stream, clear = build(**PLANTED | dials), build(**PLANTED)
    flavour = (clear.sequences - 1) % BLOCK // CELL
    assert (flavour == flavour[:, :1]).all()
    return stream, clear["T4"].labels, flavour[:, 0]


def near(expected, tolerance=0.05):
    return pytest.approx(expected, abs=tolerance)


def share_in_block(task, trait):
    """How many of a task's labels lie in their user's block."""
    return (task.labels // (N_LABELS // FLAVOURS) == trait[task.users]).mean()


def followed(stream):
    """How often the most frequent successor of an item follows it."""
    pairs = np.zeros((stream.n_items + 1, stream.n_items + 1))
    before, after = stream.sequences[:, :-1], stream.sequences[:, 1:]
    np.add.at(pairs, (before[before > 0], after[before > 0]), 1)
    return pairs.max(1).sum() / pairs.sum()


def test_six_tasks_of_the_papers_shape_the_same_for_the_same_seed():
    stream, other = build(**SMALL), build(**SMALL, seed=4)
    digest = "f7d0dbfa971bb245b94e7e04fc7d13037be29e3202f2cbb55bc721555c755f63"
    assert stream.digest() == digest != other.digest()
    kinds = ["sequence", "ranking", "ranking"] + ["classification"] * 3
    tasks = zip(kinds, (64, 16, 16, 8, 2, 6), strict=True)
    assert [(t.kind, t.n_labels) for t in stream.tasks] == [*tasks]
    assert [t.name for t in stream.tasks] == [f"T{number}" for number in range(1, 7)]
    assert (stream.info["source"], stream.info["signal"]) == ("generated", 0.6)


@pytest.mark.parametrize("structure", [0.0, 0.3, 0.8])
def test_structure_is_how_often_the_successor_follows(structure):
    stream, _, _ = planted(structure=structure, taste=0.0, n_users=2000)
    by_chance = (1 - structure) / 30  # free choices hit the most frequent successor now and then
    assert followed(stream) == near(structure + by_chance)


@pytest.mark.parametrize("taste", [0.0, 0.5, 1.0])
def test_taste_shows_in_sequences(taste):
    stream, community, flavour = planted(taste=taste)
    topics, rest = np.divmod(stream.sequences - 1, BLOCK)
    assert (rest // CELL == flavour[:, None]).mean() == near(taste + (1 - taste) / 8, 0.02)
    own = 0.5 if taste else 0.0
    assert (topics == community[:, None]).mean() == near(own + (1 - own) / 8, 0.02)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_signals_are_how_often_labels_follow_the_user(share):
    stream, community, flavour = planted(signal=share, profile_signal=share)
    for name in ("T2", "T3"):  # repeated labels fall out, most of them in the own block
        assert share_in_block(stream[name], flavour) == near(share + (1 - share) / 8), name
    truth = {"T4": community, "T5": flavour % 2, "T6": (community + flavour) % 6}
    for name, trait in truth.items():
        task = stream[name]
        right = (task.labels == trait[task.users]).mean()
        assert right == near(share + (1 - share) / task.n_labels), name


@pytest.mark.parametrize("relatedness", [0.0, 0.5, 1.0])
def test_relatedness_is_how_often_likes_follow_what_clicks_follow(relatedness):
    stream, community, flavour = planted(signal=1.0, relatedness=relatedness)
    unrelated = 1 - relatedness
    assert share_in_block(stream["T3"], flavour) == near(relatedness + unrelated / 8)
    assert share_in_block(stream["T3"], community) == near(unrelated + relatedness / 8)
    assert share_in_block(stream["T2"], flavour) == 1


def test_contradiction_turns_the_taste_upside_down():
    stream, _, flavour = planted(signal=1.0, contradiction=True)
    assert share_in_block(stream["T3"], (flavour + FLAVOURS // 2) % FLAVOURS) == 1
    assert share_in_block(stream["T2"], flavour) == 1


@pytest.mark.parametrize("half_full", [0.0, 0.5, 1.0])
def test_half_full_histories_are_padded(half_full):
    lengths = (planted(half_full=half_full)[0].sequences > 0).sum(1)
    assert lengths.min() >= 5
    assert (lengths < 12).mean() == near(half_full * 7 / 8)  # lengths 5 to 12, evenly


def test_each_task_of_a_long_stream_splits_tastes_by_halves_of_the_communities():
    stream, community, flavour = planted(splits=9)
    assert (stream.sequences == build(**PLANTED).sequences).all()  # T1 is the same
    assert [task.name for task in stream.tasks] == [f"T{number}" for number in range(1, 11)]
    tables = set()
    for task in stream.tasks[1:]:
        assert (task.kind, task.n_labels) == ("classification", 2)
        table = np.full((COMMUNITIES, FLAVOURS), -1)
        table[community, flavour] = task.labels
        assert (table[community, flavour] == task.labels).all()  # nothing else decides
        ways, number = np.unique(table, axis=0, return_counts=True)
        assert number.tolist() in ([4, 4], [8])  # both halves may happen to split alike
        assert ways.sum(1).tolist() == [4] * len(ways)
        tables.add(table.tobytes())
    assert len(tables) == 9
    noisy = build(**PLANTED | {"profile_signal": 0.0}, splits=1)["T2"]
    assert noisy.labels.mean() == near(0.5)


SHARES = ("structure", "taste", "signal", "relatedness", "profile_signal", "half_full")
OUTSIDE = [(name, bad) for name in SHARES for bad in (-0.1, 1.1, float("nan"))]
OUTSIDE += [("n_items", 63), ("n_labels", 15), ("n_users", 49), ("length", 5)]
OUTSIDE += [("splits", -1), ("splits", 255), ("clicks", 0), ("likes", -1)]
OUTSIDE += [("split", "50/50"), ("contradiction", 1)]


@pytest.mark.parametrize(("name", "bad"), OUTSIDE)
def test_a_dial_outside_its_range_is_named(name, bad):
    with pytest.raises(DataError, match=f"synthetic, {name}: found {bad!r}, expected "):
        build(**SMALL | {name: bad})


def test_the_best_possible_by_hand():
    """16 labels in 8 blocks of 2: who knows the block ranks its labels first: 0.707 and 0.293."""
    first, discount = np.sqrt(0.5), 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5
    sure = best_possible(build(**SMALL, signal=1.0, profile_signal=1.0))
    assert sure["T2"] == sure["T3"] == pytest.approx(first + (1 - first) / 2)
    assert sure["T4"] == sure["T5"] == sure["T6"] == 1.0
    noise = {"T1": discount / 64, "T2": discount / 16, "T3": discount / 16, "T4": 1 / 8}
    noise |= {"T5": 1 / 2, "T6": 1 / 6}
    assert best_possible(build(**SMALL, **NOISE)) == pytest.approx(noise)
    assert best_possible(build(**SMALL, structure=1.0))["T1"] == 1.0
