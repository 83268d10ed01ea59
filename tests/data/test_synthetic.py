"""Generated data: the same for the same seed, and each dial does what it says."""

import numpy as np
import pytest
from helpers import SMALL

from conure_lib.data.sources.synthetic import COMMUNITIES, FLAVOURS, best_possible, build
from conure_lib.errors import DataError

N_ITEMS, N_LABELS = 128, 256
PLANTED = {"n_users": 1500, "n_items": N_ITEMS, "n_labels": N_LABELS, "length": 12}
PLANTED |= {"structure": 0.0, "taste": 1.0, "profile_signal": 1.0, "half_full": 0.0}


def planted(**dials):
    """A stream and its users' traits, which with these dials T1 and T4 show without noise."""
    stream, clear = build(**PLANTED | dials), build(**PLANTED)
    block = N_ITEMS // COMMUNITIES
    flavour = (clear.sequences - 1) % block // (block // FLAVOURS)
    assert (flavour == flavour[:, :1]).all()
    return stream, clear["T4"].labels, flavour[:, 0]


def share_in_block(task, trait):
    """How many of a task's labels lie in their user's block."""
    return (task.labels // (N_LABELS // FLAVOURS) == trait[task.users]).mean()


def followed(stream):
    """How often the most frequent successor of an item follows it."""
    pairs = np.zeros((stream.n_items + 1, stream.n_items + 1))
    before, after = stream.sequences[:, :-1], stream.sequences[:, 1:]
    np.add.at(pairs, (before[before > 0], after[before > 0]), 1)
    return pairs.max(1).sum() / pairs.sum()


def test_deterministic():
    one, again, other = (build(**SMALL, seed=seed) for seed in (3, 3, 4))
    assert one.digest() == again.digest() != other.digest()
    assert (
        build(**SMALL).digest()
        == "750c91a45e6deea94570c3cddc79d934830868f0b842a01f8a5e09966b066c99"
    )


def test_another_split_of_the_same_planted():
    one, other = (build(**SMALL, split_seed=seed) for seed in (0, 1))
    assert (one.sequences == other.sequences).all()
    for task, again in zip(one.tasks, other.tasks, strict=True):
        assert (task.labels == again.labels).all()
        assert (task.users == again.users).all()
        assert (task.split != again.split).any()


def test_six_tasks_of_the_papers_shape():
    stream = build(**SMALL)
    assert [(t.name, t.kind, t.n_labels) for t in stream.tasks] == [
        ("T1", "sequence", 64),
        ("T2", "ranking", 16),
        ("T3", "ranking", 16),
        ("T4", "classification", 8),
        ("T5", "classification", 2),
        ("T6", "classification", 6),
    ]
    assert stream.info["source"] == "generated"
    assert stream.info["signal"] == 0.6


@pytest.mark.parametrize("structure", [0.0, 0.3, 0.8])
def test_structure_is_how_often_the_successor_follows(structure):
    stream, _, _ = planted(structure=structure, taste=0.0, n_users=2000)
    by_chance = (1 - structure) / 30  # free choices hit the most frequent successor now and then
    assert followed(stream) == pytest.approx(structure + by_chance, abs=0.04)


@pytest.mark.parametrize("taste", [0.0, 0.5, 1.0])
def test_taste_shows_in_sequences(taste):
    stream, community, flavour = planted(taste=taste)
    block = N_ITEMS // COMMUNITIES
    topics, flavours = np.divmod(stream.sequences - 1, block)
    flavours //= block // FLAVOURS
    assert (flavours == flavour[:, None]).mean() == pytest.approx(taste + (1 - taste) / 8, abs=0.02)
    own_topic = 0.5 if taste else 0.0
    assert (topics == community[:, None]).mean() == pytest.approx(
        own_topic + (1 - own_topic) / 8, abs=0.02
    )


def test_traits_are_independent_and_even():
    _, community, flavour = planted()
    table = np.histogram2d(community, flavour, bins=8)[0]
    expected = len(community) / 64
    assert ((table - expected) ** 2 / expected).sum() < 63 + 5 * (2 * 63) ** 0.5


@pytest.mark.parametrize("signal", [0.0, 0.6, 1.0])
def test_signal_is_how_often_labels_follow_the_user(signal):
    stream, _, flavour = planted(signal=signal)
    for name in ("T2", "T3"):  # repeated labels fall out, most of them in the own block
        assert share_in_block(stream[name], flavour) == pytest.approx(
            signal + (1 - signal) / 8, abs=0.05
        ), name


@pytest.mark.parametrize("relatedness", [0.0, 0.5, 1.0])
def test_relatedness_is_how_often_likes_follow_what_clicks_follow(relatedness):
    stream, community, flavour = planted(signal=1.0, relatedness=relatedness)
    expected = relatedness + (1 - relatedness) / 8
    assert share_in_block(stream["T3"], flavour) == pytest.approx(expected, abs=0.05)
    expected = (1 - relatedness) + relatedness / 8
    assert share_in_block(stream["T3"], community) == pytest.approx(expected, abs=0.05)
    assert share_in_block(stream["T2"], flavour) == 1


def test_contradiction_turns_the_taste_upside_down():
    stream, _, flavour = planted(signal=1.0, contradiction=True)
    assert share_in_block(stream["T3"], (flavour + FLAVOURS // 2) % FLAVOURS) == 1
    assert share_in_block(stream["T2"], flavour) == 1


@pytest.mark.parametrize("profile_signal", [0.0, 0.7, 1.0])
def test_profile_signal(profile_signal):
    stream, community, flavour = planted(profile_signal=profile_signal)
    truth = {"T4": community, "T5": flavour % 2, "T6": (community + flavour) % 6}
    for name, trait in truth.items():
        task = stream[name]
        right = (task.labels == trait[task.users]).mean()
        assert right == pytest.approx(
            profile_signal + (1 - profile_signal) / task.n_labels, abs=0.05
        ), name


@pytest.mark.parametrize("half_full", [0.0, 0.5, 1.0])
def test_half_full_histories_are_padded(half_full):
    stream, _, _ = planted(half_full=half_full)
    lengths = (stream.sequences > 0).sum(1)
    assert lengths.min() >= 5
    shorter = half_full * 7 / 8  # lengths 5 to 12, evenly
    assert (lengths < 12).mean() == pytest.approx(shorter, abs=0.05)


@pytest.mark.parametrize(("clicks", "likes"), [(2.0, 1.0), (6.0, 0.4)])
def test_labels_a_user(clicks, likes):
    stream, _, _ = planted(clicks=clicks, likes=likes, signal=0.0)
    assert len(stream["T2"].users) / 1500 == pytest.approx(clicks, rel=0.06)
    assert len(stream["T3"].users) / 1500 == pytest.approx(likes, rel=0.1)


def test_pure_noise_says_nothing():
    """Chi-square statistics of labels against traits lie within five deviations of chance."""
    stream, community, flavour = planted(structure=0.0, taste=0.0, signal=0.0, profile_signal=0.0)
    for task in stream.tasks[1:]:
        label = (
            task.labels if task.kind == "classification" else task.labels // (N_LABELS // FLAVOURS)
        )
        for trait in (community, flavour):
            table = np.histogram2d(label, trait[task.users], bins=[label.max() + 1, 8])[0]
            expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
            freedom = (table.shape[0] - 1) * 7
            assert ((table - expected) ** 2 / expected).sum() < freedom + 5 * (
                2 * freedom
            ) ** 0.5, task.name
    assert followed(stream) < 0.1


SHARES = ("structure", "taste", "signal", "relatedness", "profile_signal", "half_full")
OUTSIDE = [(name, bad) for name in SHARES for bad in (-0.1, 1.1, float("nan"))]
OUTSIDE += [("n_items", 63), ("n_labels", 15), ("n_users", 49), ("length", 5)]
OUTSIDE += [("clicks", 0), ("likes", -1), ("split", "50/50"), ("contradiction", 1)]


@pytest.mark.parametrize(("name", "bad"), OUTSIDE)
def test_a_dial_outside_its_range_is_named(name, bad):
    with pytest.raises(DataError, match=f"synthetic, {name}: found {bad!r}, expected "):
        build(**SMALL | {name: bad})


def test_the_best_possible_by_hand():
    """16 labels in 8 blocks of 2: who knows the block ranks its labels first: 0.707 and 0.293."""
    first = np.sqrt(0.5)
    sure = best_possible(build(**SMALL | {"n_labels": 16}, signal=1.0, profile_signal=1.0))
    assert sure["T2"] == sure["T3"] == pytest.approx(first + (1 - first) / 2)
    assert [sure[task] for task in ("T4", "T5", "T6")] == [1.0, 1.0, 1.0]
    noise = best_possible(build(**SMALL, structure=0.0, taste=0.0, signal=0.0, profile_signal=0.0))
    discount = 1 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5
    assert noise == pytest.approx(
        {
            "T1": discount / 64,
            "T2": discount / 16,
            "T3": discount / 16,
            "T4": 1 / 8,
            "T5": 1 / 2,
            "T6": 1 / 6,
        }
    )
    assert best_possible(build(**SMALL, structure=1.0))["T1"] == 1.0


def test_the_best_possible_is_what_an_oracle_reaches():
    """Who knows the traits ranks the own topic and flavour first, within it by popularity."""
    stream, community, flavour = planted(structure=0.0, taste=0.5)
    block, cell = N_ITEMS // COMMUNITIES, N_ITEMS // COMMUNITIES // FLAVOURS
    items = stream.sequences - 1
    own_flavour = items % block // cell == flavour[:, None]
    own = own_flavour & (items // block == community[:, None])
    rank = np.where(own, items % cell + 1, 0)  # the own cell's two items
    other = np.array([[t for t in range(COMMUNITIES) if t != own_topic] for own_topic in community])
    place = (other[:, None, :] == (items // block)[:, :, None]).argmax(2)
    rank = np.where(
        own_flavour & ~own & (items % cell == 0) & (place < 3), 3 + place, rank
    )  # then first items
    reached = np.divide(1, rank, where=rank > 0, out=np.zeros(rank.shape)).mean()
    assert reached == pytest.approx(best_possible(stream)["T1"], abs=0.01)
