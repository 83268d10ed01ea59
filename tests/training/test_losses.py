"""Losses against PyTorch and numbers by hand; samplers against their exact distributions."""

import math

import numpy as np
import pytest
import torch
from helpers import rng
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch.autograd import grad, gradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from conure_lib.training import losses
from conure_lib.training.losses import bpr_loss, sampled_softmax_loss, softmax_loss
from conure_lib.training.samplers import LogUniformSampler, PopularitySampler, popularity_rank

pytestmark = pytest.mark.numerics


def case(rows=7, width=3, n=11, dtype=torch.float64, scale=1.0):
    """Vectors, weight, bias (with gradients) and targets."""
    shapes = ((rows, width), (n, width), (n,))
    made = [torch.randn(s, dtype=dtype, generator=rng(i)) * scale for i, s in enumerate(shapes)]
    return *(x.requires_grad_() for x in made), torch.randint(n, (rows,), generator=rng(9))


def in_chunks(monkeypatch, elements):
    monkeypatch.setattr(losses, "CHUNK_ELEMENTS", elements)
    monkeypatch.setattr(losses, "MIN_CHUNK_ROWS", 1)
    monkeypatch.setattr(losses, "LARGE_CHUNK_ROWS", 1)


def test_large_catalogues_take_larger_chunks_within_bounds():
    columns = (1, 1887, 2048, 2049, 129_200, 646_000)
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert [losses.chunk_rows(n, cpu) for n in columns] == [1 << 18, 138, 128, 512, 512, 128]
    assert [losses.chunk_rows(n, cuda) for n in columns[1:]] == [35563, 32768, 32752, 519, 103]


@pytest.mark.parametrize("chunk", [1, 11, 24, 50, 1 << 20])  # 1, 1, 2, 4, 7 rows at a time
def test_softmax_is_cross_entropy(chunk, monkeypatch):
    in_chunks(monkeypatch, chunk)
    vectors, weight, bias, targets = case()
    wanted = (vectors, weight, bias)
    ours = softmax_loss(vectors, weight, bias, targets)
    theirs = F.cross_entropy(F.linear(vectors, weight, bias), targets)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    assert_close(grad(3 * ours, wanted), grad(3 * theirs, wanted), rtol=0, atol=1e-11)
    assert gradcheck(lambda g, w, b: softmax_loss(g, w, b, targets), wanted)


@pytest.mark.parametrize("loss", [softmax_loss, sampled_softmax_loss])
def test_large_scores_stay_finite(loss):
    vectors, weight, bias, targets = case(dtype=torch.float32, scale=20.0)
    drawn = (torch.arange(0, 11, 2), torch.zeros(11)) if loss is sampled_softmax_loss else ()
    found = loss(vectors, weight, bias, targets, *drawn)
    values = [found, *grad(found, (vectors, weight, bias))]
    assert all(value.isfinite().all() for value in values)


@pytest.mark.parametrize("chunk", [1, 8, 1 << 20])
def test_sampled_softmax_is_cross_entropy_over_what_was_drawn(chunk, monkeypatch):
    in_chunks(monkeypatch, chunk)
    vectors, weight, bias, targets = case()
    negatives = torch.tensor([4, 0, 9, 2])
    log_expected = torch.randn(11, dtype=torch.float64, generator=rng(4))

    def plain(vectors, weight, bias):
        logits = F.linear(vectors, weight, bias) - log_expected
        rows = []
        for row, target in zip(logits, targets.tolist(), strict=True):
            others = [j for j in negatives.tolist() if j != target]
            rows.append(row[[target, *others]].logsumexp(0) - row[target])
        return torch.stack(rows).mean()

    assert any(t in negatives for t in targets)  # accidental hits occur
    assert not all(t in negatives for t in targets)
    ours = sampled_softmax_loss(vectors, weight, bias, targets, negatives, log_expected)
    theirs = plain(vectors, weight, bias)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
    wanted = (vectors, weight, bias)
    slopes = grad(2 * ours, wanted)
    assert_close(slopes, grad(2 * theirs, wanted), rtol=0, atol=1e-11)
    arguments = (*wanted, targets, negatives, log_expected)
    (by_rows,) = grad(2 * sampled_softmax_loss(*arguments, rows_only=True), weight)
    assert by_rows.is_sparse
    assert set(by_rows.coalesce().indices()[0].tolist()) == {4, 0, 9, 2, *targets.tolist()}
    assert_close(by_rows.to_dense(), slopes[1], rtol=0, atol=1e-11)


def test_a_row_whose_only_negative_is_its_target_teaches_nothing():
    vectors, weight, bias, _ = case(3)
    drawn, expected = torch.tensor([5]), torch.zeros(11, dtype=torch.float64)
    loss = sampled_softmax_loss(vectors, weight, bias, torch.tensor([5, 5, 1]), drawn, expected)
    expected = F.softplus(vectors[2] @ (weight[5] - weight[1]) + bias[5] - bias[1]) / 3
    assert loss.item() == pytest.approx(expected.item())
    (slopes,) = grad(loss, vectors)
    assert not slopes[:2].any()
    assert slopes[2].all()


def test_bpr_by_hand():
    vectors = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    weight = torch.tensor([[3.0, 0.0], [1.0, 1.0], [0.0, 5.0]])
    bias = torch.tensor([0.0, 0.5, -1.0])
    loss = bpr_loss(vectors, weight, bias, torch.tensor([0, 1]), torch.tensor([1, 2]))
    margins = (3 - 1 - 0.5, 3 - 5 + 1.5)
    expected = sum(-math.log(1 / (1 + math.exp(-m))) for m in margins) / 2
    assert loss.item() == pytest.approx(expected)
    large = bpr_loss(vectors * 1000, weight, bias, torch.tensor([1, 1]), torch.tensor([0, 2]))
    assert large.isfinite()


COUNTS = np.array([3, 0, 9, 5])  # ranks 2, 3, 0, 1


def test_ranks_and_log_uniform_probabilities_by_hand():
    assert popularity_rank(np.array([2, 5, 0, 5, 2])).tolist() == [2, 0, 4, 1, 3]
    p = LogUniformSampler(COUNTS, 2).p
    odds = [math.log(4 / 3), math.log(5 / 4), math.log(2), math.log(3 / 2)]
    np.testing.assert_allclose(p, np.array(odds) / math.log(5))
    assert p.sum() == pytest.approx(1)


def test_log_uniform_draws_as_if_repetitions_were_skipped():
    sampler, generator, times = LogUniformSampler(COUNTS, 2), rng(1), 20_000
    found = np.zeros(4)
    for _ in range(times):
        pair = sampler.draw(generator)
        assert pair[0] != pair[1]
        found[pair.numpy()] += 1
    p, all_labels = sampler.p, range(4)
    second = [sum(p[j] * p[i] / (1 - p[j]) for j in all_labels if j != i) for i in all_labels]
    exact = p + second
    assert (np.abs(found / times - exact) < 5 * np.sqrt(exact * (1 - exact) / times)).all()


@given(n=st.integers(1, 300), share=st.floats(0.01, 1.0), seed=st.integers(0, 9))
def test_log_uniform_draws_are_distinct_and_their_expected_counts_add_up(n, share, seed):
    n_draws = max(1, round(share * n))
    counts = np.random.default_rng(seed).integers(0, 50, n)
    sampler = LogUniformSampler(counts, n_draws)
    labels = sampler.draw(rng(seed))
    assert len(labels.unique()) == n_draws
    assert 0 <= labels.min() <= labels.max() < n
    expected = sampler.log_expected.double().exp().numpy()
    assert expected.sum() == pytest.approx(n_draws, rel=1e-4)
    assert (np.diff(expected[np.argsort(popularity_rank(counts))]) <= 1e-7).all()
    assert torch.equal(labels, sampler.draw(rng(seed)))
    # q = 1 - (1 - p)^T with one T for all
    inner = expected < 0.99
    tries = np.log1p(-expected[inner]) / np.log1p(-sampler.p[inner])
    np.testing.assert_allclose(tries, tries[:1].repeat(len(tries)), rtol=1e-3)


@pytest.mark.parametrize("rho", [0.3, 1.0])
def test_popularity_sampler_has_the_stated_distribution(rho):
    counts = np.array([7, 1, 12, 7, 0, 3])
    ranks = np.array([1, 4, 0, 2, 5, 3])
    sampler, times = PopularitySampler(counts, rho), 60_000
    weight = np.exp(-(ranks + 1) / (rho * 6))
    np.testing.assert_allclose(sampler.p, weight / weight.sum())
    positives = torch.arange(6).repeat(times // 6)
    negatives = sampler.draw(positives, rng(2))
    assert not (negatives == positives).any()
    for positive in range(6):  # given its positive, a negative is drawn from all the others
        found = np.bincount(negatives[positives == positive], minlength=6)
        others = np.arange(6) != positive
        chances = weight[others] / weight[others].sum()
        assert chisquare(found[others], chances * times / 6).pvalue > 1e-4
    assert torch.equal(negatives, sampler.draw(positives, rng(2)))
    assert not torch.equal(negatives, sampler.draw(positives, rng(3)))


@given(
    counts=st.lists(st.integers(0, 9), min_size=2, max_size=9),
    rho=st.sampled_from([1e-3, 0.05, 0.3, 100.0]),
)
def test_a_negative_is_never_its_positive(counts, rho):
    positives = torch.arange(len(counts)).repeat(50)
    negatives = PopularitySampler(np.array(counts), rho).draw(positives, rng(1))
    assert not (negatives == positives).any()
    assert 0 <= negatives.min() <= negatives.max() < len(counts)
