"""Ranks and metrics against brute force and ir_measures, ties included; the order of results."""

import ir_measures
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import a_task, lively, rng, small_model, small_stream, with_outputs
from hypothesis import given
from hypothesis import strategies as st

from conure_lib.data.stream import TEST, TRAIN, VALIDATION, TaskStream
from conure_lib.models import padding
from conure_lib.models.layers import OutputLayer
from conure_lib.training import evaluation as module
from conure_lib.training.evaluation import CUTOFF, evaluate, exact_ranks, scores_of

pytestmark = pytest.mark.numerics


def saying(n_labels: int) -> OutputLayer:
    """A layer whose scores are its input: the vectors are the scores."""
    layer = OutputLayer(np.ones(n_labels), n_labels, rng())
    with torch.no_grad():
        layer.weight.copy_(torch.eye(n_labels))
    return layer


def brute(scores, index, targets, max_rank=module.MAX_RANK, known=()) -> list[int]:
    """Rank by the tie rule: how many competing scores are at least the target's, its own too."""
    ranks = []
    for i, t in zip(index, targets, strict=True):
        competing = [s for label, s in enumerate(scores[i]) if (i, label) not in known]
        ranks.append(sum(s >= scores[i][t] for s in competing))
    return [0 if rank > max_rank else rank for rank in ranks]


@st.composite
def scored(draw):
    """Scores with many ties, instances of the rows in any order, some rows' other labels known."""
    rows, labels = draw(st.integers(1, 6)), draw(st.integers(2, 12))
    instances, values = draw(st.integers(1, 15)), draw(st.sampled_from([1, 3, 10, 1000]))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    scores = random.integers(0, values, (rows, labels)).astype(np.float32)
    index, targets = random.integers(0, rows, instances), random.integers(0, labels, instances)
    is_known = random.random((rows, labels)) < random.choice([0, 0.2, 0.9])
    is_known[index, targets] = False
    return scores, index, targets, np.nonzero(is_known)


@given(
    case=scored(),
    vectors=st.sampled_from([1, 2, 5, 128]),
    max_rank=st.sampled_from([1, CUTOFF, module.MAX_RANK]),
    each_once=st.booleans(),
)
def test_ranks_are_counted_with_ties(case, vectors, max_rank, each_once, monkeypatch):
    scores, index, targets, (rows, labels) = case
    if each_once:  # one target per vector is counted in another way
        index = np.arange(min(len(scores), len(targets)))
        scores, targets = scores[: len(index)], targets[: len(index)]
        kept = (rows < len(index)) & (labels != targets[np.minimum(rows, len(index) - 1)])
        rows, labels = rows[kept], labels[kept]
    monkeypatch.setattr(module, "SCORED_VECTORS", vectors)
    layer, given = saying(scores.shape[1]), torch.from_numpy(scores)
    literal = exact_ranks(layer, given, index, targets, max_rank)
    assert literal.dtype == np.uint8
    assert literal.tolist() == brute(scores, index, targets, max_rank)
    filtered, beside = exact_ranks(layer, given, index, targets, max_rank, (rows, labels))
    pairs = set(zip(rows.tolist(), labels.tolist(), strict=True))
    assert filtered.tolist() == brute(scores, index, targets, max_rank, pairs)
    assert beside.tolist() == literal.tolist()


def test_ranks_up_to_255_are_kept():
    scores = torch.arange(300.0, 0.0, -1)[None].repeat(3, 1)
    targets = np.array([6, 254, 255])
    for index in (np.arange(3), np.zeros(3, dtype=int)):  # one or several targets per vector
        for most, expected in ((module.MAX_RANK, [7, 255, 0]), (CUTOFF, [0, 0, 0])):
            ranks = exact_ranks(saying(300), scores, index, targets, most)
            assert ranks.tolist() == expected
    many = np.zeros(299, int), np.delete(np.arange(300), 254)  # all but the second target's
    filtered, literal = exact_ranks(saying(300), scores[:1], np.array([0]), [254], known=many)
    assert (filtered.tolist(), literal.tolist()) == ([1], [255])


@given(case=scored())
def test_metrics_agree_with_ir_measures(case):
    """The target's score is put below its equals: ir_measures does not say how it breaks ties."""
    scores, index, targets, known = case
    rows, n_labels = len(targets), scores.shape[1]
    nudged = scores[index].astype(np.float64)
    nudged[np.arange(rows), targets] -= 0.5
    ids = [f"q{i}" for i in range(rows)]
    truth = pd.DataFrame({"query_id": ids, "doc_id": targets.astype(str), "relevance": 1})
    labels = np.tile(np.arange(n_labels), rows).astype(str)
    queries = np.repeat(ids, n_labels)
    run = pd.DataFrame({"query_id": queries, "doc_id": labels, "score": nudged.ravel()})
    is_known = np.zeros(scores.shape, bool)
    is_known[known] = True
    both = exact_ranks(saying(n_labels), torch.from_numpy(scores), index, targets, known=known)
    measures = (ir_measures.RR @ 5, ir_measures.Success @ 10, ir_measures.nDCG @ 10)
    for ranks, competing in zip(both, (run[~is_known[index].ravel()], run), strict=True):
        for metric, measure in zip(module.METRICS, measures, strict=True):
            found = ir_measures.iter_calc([measure], truth, competing)
            values = {m.query_id: m.value for m in found}
            expected = [values[i] for i in ids]
            np.testing.assert_allclose(scores_of("ranking", ranks, metric), expected)


def test_metrics_by_hand():
    ranks = np.array([1, 2, 5, 0, 10, 11, 255], dtype=np.uint8)
    np.testing.assert_allclose(scores_of("sequence", ranks), [1, 0.5, 0.2, 0, 0, 0, 0])
    assert scores_of("ranking", ranks, "HR@10").tolist() == [1, 1, 1, 0, 1, 0, 0]
    gains = [1, 1 / np.log2(3), 1 / np.log2(6), 0, 1 / np.log2(11), 0, 0]
    np.testing.assert_allclose(scores_of("ranking", ranks, "NDCG@10"), gains)
    assert module.metric_of("ranking", ranks) == pytest.approx(1.7 / 7)
    assert module.metric_of("classification", ranks) == 1 / 7


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
    torch.testing.assert_close(
        module.user_vectors(model, sequences), expected, rtol=1e-4, atol=1e-4
    )


@pytest.fixture
def model():
    return with_outputs(small_stream())


def known_before(task, user, part, row):
    """(row, label) of what the user is known to have, from the parts before this one."""
    return {(row, label) for label in task.labels[(task.users == user) & (task.split < part)]}


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
    literal, filtered, losses = [], [], []
    for user, label in zip(shuffled.users[rows], shuffled.labels[rows], strict=True):
        scores = brute_scores(model, name, flipped[turned.input_rows[user]])
        literal += brute(scores[None], [0], [label])
        filtered += brute(scores[None], [0], [label], known=known_before(shuffled, user, part, 0))
        losses.append(np.log(np.exp(scores - scores[label]).sum()))
    found = evaluate(model, turned, shuffled, part)
    if name == "T4":
        assert found[name].tolist() == literal
        loss = module.cross_entropy(model, turned, shuffled, part)
        assert loss == pytest.approx(np.mean(losses), rel=1e-5)
        value = -loss
    else:
        assert found["T2-literal"].tolist() == literal
        assert found["T2"].tolist() == filtered
        assert (filtered == literal) == (part == TRAIN)
        value = np.mean([1 / rank if 0 < rank <= 5 else 0 for rank in filtered])
    assert len(set(literal)) > 1
    if part == VALIDATION:
        assert module.validation_value(model, turned, shuffled) == pytest.approx(value)
        vectors = module.user_vectors(model, flipped[input_rows])
        assert module.validation_value(model, turned, shuffled, vectors) == pytest.approx(value)


@torch.no_grad()
def test_t1_at_the_last_and_at_all_positions(model, monkeypatch):
    monkeypatch.setattr(module, "SORTED_USERS", 4)
    stream = small_stream(half_full=0.9, length=8)
    task = stream["T1"]
    last, everywhere = [], []
    for row in task.rows(VALIDATION):
        items = stream.sequences[row]
        for at in range(np.flatnonzero(items)[0] + 1, 8):
            scores = brute_scores(model, "T1", items[:at])
            everywhere += brute(scores[None], [0], [items[at] - 1])
        last.append(everywhere[-1])
    assert evaluate(model, stream, task, VALIDATION)["T1"].tolist() == last
    assert module.evaluate_all_positions(model, stream, task, VALIDATION).tolist() == everywhere
    assert len(everywhere) < 7 * len(last)  # padding was there
    value = np.mean([1 / rank if 0 < rank <= 5 else 0 for rank in everywhere])
    assert module.validation_value(model, stream, task) == pytest.approx(value)


@pytest.mark.parametrize("name", ["T1", "T2", "T4"])
def test_scores_of_floors_are_ranked_like_a_networks(name, monkeypatch):
    """Each user's own random scores, with ties; T1 at the last and at all positions."""
    monkeypatch.setattr(module, "SCORED_VECTORS", 7)
    stream = small_stream(half_full=0.9)
    task = stream[name]
    table = np.random.default_rng(1).integers(0, 9, (60, task.n_labels))
    found, expected = module.ranks_of_scores(lambda users: table[users], stream, task, TEST), {}
    for row in task.rows(TEST):
        user, label = task.users[row], task.labels[row]
        known = known_before(task, user, TEST, user) if name == "T2" else ()
        ranks = {name: brute(table, [user], [label], known=known)}
        if name == "T1":
            items = stream.sequences[row][stream.sequences[row] > 0][1:] - 1
            ranks["T1-all"] = brute(table, [user] * len(items), items)
        elif name == "T2":
            ranks["T2-literal"] = brute(table, [user], [label])
        expected = {measure: expected.get(measure, []) + ranks[measure] for measure in ranks}
    assert {measure: ranks.tolist() for measure, ranks in found.items()} == expected
