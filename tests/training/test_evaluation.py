"""Ranks and metrics against brute force and ir_measures, ties included; the order of results."""

import ir_measures
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import a_task, lively, rng, small_model, small_stream
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.data.stream import TEST, TRAIN, VALIDATION, TaskStream
from conure_lib.models import padding
from conure_lib.models.layers import OutputLayer
from conure_lib.training import evaluation as module
from conure_lib.training.evaluation import (
    CUTOFF,
    MAX_RANK,
    evaluate,
    evaluate_all_positions,
    exact_ranks,
    metric_of,
    popularity_ranks,
    scores_of,
    user_vectors,
)

pytestmark = pytest.mark.numerics


def saying(n_labels: int) -> OutputLayer:
    """A layer whose scores are its input: the vectors are the scores."""
    layer = OutputLayer(np.ones(n_labels), n_labels, rng())
    with torch.no_grad():
        layer.weight.copy_(torch.eye(n_labels))
    return layer


def brute(scores, index, targets, max_rank=MAX_RANK) -> list[int]:
    """Rank by the tie rule: how many scores are at least the target's, itself included."""
    pairs = zip(index, targets, strict=True)
    counts = [sum(s >= scores[i][t] for s in scores[i]) for i, t in pairs]
    return [0 if count > max_rank else count for count in counts]


@st.composite
def scored(draw):
    """Scores with many ties, and instances of the rows in any order, several or none for some."""
    rows, labels = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    instances, values = draw(st.integers(1, 15)), draw(st.sampled_from([1, 3, 10, 1000]))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = random.integers(0, values, (rows, labels)).astype(np.float32)
    return scores, random.integers(0, rows, instances), random.integers(0, labels, instances)


@given(
    case=scored(),
    vectors=st.sampled_from([1, 2, 5, 128]),
    max_rank=st.sampled_from([1, CUTOFF, MAX_RANK]),
    each_once=st.booleans(),
)
def test_ranks_are_counted_with_ties(case, vectors, max_rank, each_once, monkeypatch):
    scores, index, targets = case
    if each_once:  # one target per vector is counted in another way
        index = np.arange(min(len(scores), len(targets)))
        scores, targets = scores[: len(index)], targets[: len(index)]
    monkeypatch.setattr(module, "SCORED_VECTORS", vectors)
    layer, given = saying(scores.shape[1]), torch.from_numpy(scores)
    ranks = exact_ranks(layer, given, index, targets, max_rank)
    assert ranks.dtype == np.uint8
    assert ranks.tolist() == brute(scores, index, targets, max_rank)


def test_ranks_up_to_255_are_kept():
    scores = torch.arange(300.0, 0.0, -1)[None].repeat(3, 1)
    targets = np.array([6, 254, 255])
    for index in (np.arange(3), np.zeros(3, dtype=int)):  # one or several targets per vector
        ranks = exact_ranks(saying(300), scores, index, targets)
        assert ranks.tolist() == [7, 255, 0]
        assert exact_ranks(saying(300), scores, index, targets, CUTOFF).tolist() == [0, 0, 0]
    assert metric_of("ranking", ranks) == 0  # the metric keeps its cutoff
    assert scores_of("ranking", ranks, cutoff=10).tolist() == [1 / 7, 0, 0]


@given(case=scored())
def test_metrics_agree_with_ir_measures(case):
    """The target's score is put below its equals: ir_measures does not say how it breaks ties."""
    scores, index, targets = case
    rows, n_labels = len(targets), scores.shape[1]
    nudged = scores[index].astype(np.float64)
    nudged[np.arange(rows), targets] -= 0.5
    ids = [f"q{i}" for i in range(rows)]
    truth = pd.DataFrame({"query_id": ids, "doc_id": targets.astype(str), "relevance": 1})
    labels = np.tile(np.arange(n_labels), rows).astype(str)
    queries = np.repeat(ids, n_labels)
    run = pd.DataFrame({"query_id": queries, "doc_id": labels, "score": nudged.ravel()})
    ranks = exact_ranks(saying(n_labels), torch.from_numpy(scores), index, targets)
    for kind, measure in (("ranking", ir_measures.RR @ 5), ("classification", ir_measures.P @ 1)):
        values = {m.query_id: m.value for m in ir_measures.iter_calc([measure], truth, run)}
        theirs = [values[i] for i in ids]
        np.testing.assert_allclose(scores_of(kind, ranks), theirs)
        assert metric_of(kind, ranks) == pytest.approx(np.mean(theirs))
    assert metric_of("sequence", ranks) == metric_of("ranking", ranks)


def test_metrics_by_hand():
    ranks = np.array([1, 2, 5, 0], dtype=np.uint8)
    np.testing.assert_allclose(scores_of("sequence", ranks), [1, 0.5, 0.2, 0])
    assert metric_of("ranking", ranks) == pytest.approx(1.7 / 4)
    assert metric_of("classification", ranks) == 0.25


@pytest.mark.parametrize("index", [[0], [0, 0]])
@pytest.mark.parametrize(("place", "value"), [(3, -np.inf), (3, np.nan), (7, np.nan), (7, np.inf)])
def test_a_target_without_a_finite_score_raises(index, place, value):
    layer = saying(20)
    with torch.no_grad():
        layer.weight[place] = value
    with pytest.raises(FloatingPointError, match="diverged"):
        exact_ranks(layer, torch.ones(1, 20), np.array(index), np.full(len(index), 3))


@pytest.mark.parametrize("together", [1, 3, 100])
@pytest.mark.parametrize("sorted_among", [1, 7, 100])
def test_user_vectors_in_any_batches(together, sorted_among, monkeypatch):
    monkeypatch.setattr(padding, "MIN_MICRO_BATCH", together)
    monkeypatch.setattr(padding, "CACHED_ELEMENTS", 1)
    monkeypatch.setattr(module, "SORTED_USERS", sorted_among)
    model = lively(small_model())
    sequences = small_stream().sequences
    with torch.no_grad():
        expected = model.hidden(torch.from_numpy(sequences).long())[-1]
    torch.testing.assert_close(user_vectors(model, sequences), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def model():
    """A model with lively layers for the small stream's tasks."""
    made = small_model()
    for task in small_stream().tasks:
        made.add_output(task.name, np.ones(task.n_labels), rng(2))
    return lively(made)


def brute_scores(model, task, sequence):
    vector = model.hidden(torch.tensor(sequence)[None].long())[-1, 0]
    return model.outputs[task](vector).numpy()


@pytest.mark.parametrize("part", [TRAIN, VALIDATION, TEST])
@pytest.mark.parametrize("name", ["T2", "T4"])
@torch.no_grad()
def test_results_stand_in_the_order_of_the_rows(model, name, part):
    """Users in no order, repeated, and input rows that are not the users' numbers."""
    stream = small_stream()
    task = stream[name]
    order = np.random.default_rng(3).permutation(len(task.users))
    users, labels, split = (a[order] for a in (task.users, task.labels, task.split))
    shuffled = a_task(task.kind, users, labels, task.n_labels, split, name)
    flipped, input_rows = stream.sequences[::-1].copy(), np.arange(60)[::-1].copy()
    turned = TaskStream("toy", flipped, input_rows, stream.n_items, (stream["T1"], shuffled))
    rows = shuffled.rows(part)
    assert (np.diff(shuffled.users[rows]) < 0).any()
    expected = []
    for row in rows:
        scores = brute_scores(model, name, flipped[turned.input_rows[shuffled.users[row]]])
        expected += brute(scores[None], [0], [shuffled.labels[row]])
    found = evaluate(model, turned, shuffled, part)
    assert found.tolist() == expected
    assert len(set(expected)) > 1


@torch.no_grad()
def test_t1_at_the_last_and_at_all_positions(model, monkeypatch):
    monkeypatch.setattr(module, "SORTED_USERS", 4)
    stream = small_stream(half_full=0.9, length=8)
    task = stream["T1"]
    last, everywhere = [], []
    for row in task.rows(TEST):
        items = [i for i in stream.sequences[row].tolist() if i]
        padding = [0] * (8 - len(items))
        for at in range(1, len(items)):
            scores = brute_scores(model, "T1", padding + items[:at])
            everywhere += brute(scores[None], [0], [items[at] - 1])
        last.append(everywhere[-1])
        assert items[-1] - 1 == task.labels[row]
    assert evaluate(model, stream, task, TEST).tolist() == last
    assert evaluate_all_positions(model, stream, task, TEST).tolist() == everywhere
    assert len(everywhere) < 7 * len(last)  # padding was there
    assert any(everywhere)


@given(labels=st.lists(st.integers(0, 9), min_size=6, max_size=40), seed=st.integers(0, 99))
def test_popularity_by_brute_force(labels, seed):
    split = np.random.default_rng(seed).permutation(np.arange(len(labels)) % 3)
    task = a_task("ranking", np.arange(len(labels)), labels, 10, split)
    seen = [label for label, part in zip(labels, split, strict=True) if part == TRAIN]
    counts = np.array([seen.count(label) for label in range(10)])
    targets = np.array(labels)[split == TEST]
    expected = brute(counts[None], [0] * len(targets), targets)
    assert popularity_ranks(None, task, TEST).tolist() == expected


def test_t1s_popularity_counts_all_training_items():
    stream = small_stream()
    task = stream["T1"]
    train = stream.sequences[task.rows(TRAIN)]
    counts = np.array([(train == item).sum() for item in range(1, stream.n_items + 1)])
    targets = task.labels[task.rows(TEST)]
    expected = brute(counts[None], [0] * len(targets), targets)
    assert popularity_ranks(stream, task, TEST).tolist() == expected


@pytest.mark.parametrize("name", ["T1", "T2", "T4"])
def test_a_new_output_layer_ranks_like_popularity(name):
    """Its bias alone does: the random weight is small, here nought."""
    model, stream = small_model(), small_stream()
    task = stream[name]
    model.add_output(name, stream.label_counts(task), rng())
    with torch.no_grad():
        model.outputs[name].weight.zero_()
    expected = popularity_ranks(stream, task, TEST)
    assert evaluate(model, stream, task, TEST).tolist() == expected.tolist()
