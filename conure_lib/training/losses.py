"""Losses and the samplers behind them (paper, sections 3.2 and 6.1)."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK_ELEMENTS = 1 << 18  # logits held at a time by a softmax loss: 1 MiB, a core's own cache
MIN_CHUNK_ROWS = 128  # fewer rows make poor products
LARGE_CHUNK_ROWS = 512  # where so few rows leave that cache anyway: larger products
MAX_CHUNK_ELEMENTS = 1 << 26  # 256 MiB: bounds memory at catalogues of up to millions


class SoftmaxLoss(torch.autograd.Function):
    """Mean cross-entropy of g W^T + b in bounded memory: probabilities live for one chunk of rows.

    Rows are scaled after the products, on k columns instead of n, and the bias is no further column of them
    (k + 1 columns cost a fifth more time): each chunk is written and read as few times as possible.
    """

    @staticmethod
    def forward(
        ctx, vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor
    ) -> Tensor:
        """The mean loss, a scalar; shapes as in ``softmax_loss``. Gradients are computed along the way."""
        grad_vectors, grad_weight = torch.empty_like(vectors), torch.zeros_like(weight)
        grad_bias = None if bias is None else torch.zeros_like(bias)
        own = torch.empty_like(vectors[:, 0])
        for rows, logits, spare in _chunks(vectors, len(weight)):
            _scores(vectors[rows], weight, bias, logits)
            chances = torch.softmax(logits, 1, out=spare)
            own[rows] = chances.gather(1, targets[rows, None]).squeeze(1)
            if grad_bias is not None:
                grad_bias += chances.sum(0)
            torch.mm(chances, weight, out=grad_vectors[rows])
            grad_weight.addmm_(chances.t(), vectors[rows])
        grad_vectors -= weight[targets]
        grad_weight.index_add_(0, targets, vectors, alpha=-1)
        if grad_bias is not None:
            grad_bias.index_add_(0, targets, torch.ones_like(own), alpha=-1)
        ctx.grads = [
            None if g is None else g.div_(len(vectors))
            for g in (grad_vectors, grad_weight, grad_bias)
        ]
        # A chance below the smallest float shows a loss of 87, its gradient is exact all the same.
        return -own.clamp_min_(torch.finfo(own.dtype).tiny).log_().mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients of vectors, weight and bias, times the loss's own."""
        return (*(None if g is None else g * grad for g in ctx.grads), None)


class SampledSoftmaxLoss(torch.autograd.Function):
    """As SoftmaxLoss, over each row's target and the negatives that all rows share."""

    @staticmethod
    def forward(
        ctx,
        vectors: Tensor,
        weight: Tensor,
        corrected: Tensor,
        targets: Tensor,
        negatives: Tensor,
        rows_only: bool,
    ) -> Tensor:
        """The mean loss, a scalar; corrected [n]: bias - log_expected; the rest as in ``sampled_softmax_loss``."""
        others, shift = weight[negatives], corrected[negatives]
        own = (vectors * weight[targets]).sum(1) + corrected[targets]
        column = targets.new_full((len(weight),), -1)
        column[negatives] = torch.arange(len(negatives), device=negatives.device)
        hits = column[targets][:, None]
        losses, missed = torch.empty_like(own), torch.empty_like(own)
        grad_vectors, grad_others = torch.empty_like(vectors), torch.zeros_like(others)
        grad_shift = torch.zeros_like(shift)
        for rows, logits, spare in _chunks(vectors, len(negatives)):
            _scores(vectors[rows], others, shift, logits)
            at = hits[rows].clamp_min(0)
            lowest = torch.finfo(logits.dtype).min  # infinite: NaN if nothing else was drawn
            logits.scatter_(1, at, torch.where(hits[rows] < 0, logits.gather(1, at), lowest))
            top = logits.amax(1)
            chances = torch.softmax(logits, 1, out=spare)  # among the negatives only
            margin = top - chances.amax(1).log() - own[rows]
            losses[rows] = F.softplus(margin)
            missed[rows] = margin.sigmoid()  # the chance left to all negatives together
            grad_shift.addmv_(chances.t(), missed[rows])
            torch.mm(chances, others, out=grad_vectors[rows])
            grad_others.addmm_(chances.t(), vectors[rows] * missed[rows, None])
        scale = missed / len(vectors)
        touched = torch.cat([targets, negatives])
        slopes = torch.cat([vectors * -scale[:, None], grad_others / len(vectors)])
        grad_corrected = torch.zeros_like(corrected)
        grad_corrected.index_add_(0, touched, torch.cat([-scale, grad_shift / len(vectors)]))
        if rows_only:
            grad_weight = torch.sparse_coo_tensor(
                touched[None], slopes, weight.shape, check_invariants=False
            )
        else:
            grad_weight = torch.zeros_like(weight).index_add_(0, touched, slopes)
        ctx.grads = [(grad_vectors - weight[targets]) * scale[:, None], grad_weight, grad_corrected]
        return losses.mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The stored gradients of vectors, weight and corrected, times the loss's own."""
        return (*(g * grad for g in ctx.grads), None, None, None)


def _scores(vectors: Tensor, weight: Tensor, bias: Tensor | None, out: Tensor) -> None:
    if bias is None:
        torch.mm(vectors, weight.t(), out=out)
    else:
        torch.addmm(bias, vectors, weight.t(), out=out)


def _chunks(inputs: Tensor, columns: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Row ranges, each with two buffers [rows, columns] that are used again and again (no page faults)."""
    step = max(1, min(len(inputs), chunk_rows(columns)))
    buffers = inputs.new_empty(2, step, columns)
    for start in range(0, len(inputs), step):
        rows = slice(start, min(start + step, len(inputs)))
        yield rows, *buffers[:, : rows.stop - rows.start]


def chunk_rows(columns: int) -> int:
    """How many rows of so many logits a softmax loss holds at a time."""
    rows = CHUNK_ELEMENTS // columns
    if rows >= MIN_CHUNK_ROWS:
        return rows
    return max(MIN_CHUNK_ROWS, min(LARGE_CHUNK_ROWS, MAX_CHUNK_ELEMENTS // columns))


def softmax_loss(vectors: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
    """Exact softmax cross-entropy, mean over rows, in bounded memory.

    vectors [N, k], weight [n, k], bias [n] or None, targets int64 [N] in 0..n-1.
    """
    return SoftmaxLoss.apply(vectors, weight, bias, targets)


def sampled_softmax_loss(
    vectors: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor,
    rows_only: bool = False,
) -> Tensor:
    """Sampled softmax with shared negatives, one product for the batch (paper, section 6.1).

    Every logit has the log of its label's expected count subtracted; negatives that are a row's own target
    (accidental hits) do not count. Shapes as in ``softmax_loss``; negatives int64 [S], log_expected [n].
    rows_only: the gradient of ``weight`` is a sparse tensor of the rows that were used.
    """
    return SampledSoftmaxLoss.apply(
        vectors, weight, bias - log_expected, targets, negatives, rows_only
    )


def bpr_loss(vectors: Tensor, weight: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Mean of -log sigmoid(score of the positive - score of the negative) (paper, section 3.2: BPR).

    vectors [N, k], one per instance; weight [n, k], an output layer without bias; positives, negatives [N].
    """
    margin = (vectors * (weight[positives] - weight[negatives])).sum(1)
    return F.softplus(-margin).mean()
