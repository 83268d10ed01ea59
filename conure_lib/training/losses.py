"""The losses (sections 3.2 and 6.1), in bounded memory."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from conure_lib.models.layers import scores_into

CHUNK_ELEMENTS = 1 << 18  # logits held at a time: 1 MiB, a core's own cache
MIN_CHUNK_ROWS = 128  # smaller matrices underuse the GEMM kernel
LARGE_CHUNK_ROWS = 512  # where so few rows leave that cache anyway
MAX_CHUNK_ELEMENTS = 1 << 26  # 256 MiB: bounds memory at catalogues of up to millions


def softmax_loss(vectors: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the mean softmax cross-entropy of the logits vectors weight^T + bias.

    Shapes: [N, k], [n, k], [n]; ``targets`` are labels, int64 [N].
    """
    return _Softmax.apply(vectors, weight, bias, targets)


def sampled_softmax_loss(
    vectors: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
    negatives: Tensor,
    log_expected: Tensor,
    rows_only: bool = False,
) -> Tensor:
    """Return the sampled softmax loss with negatives (int64 [S]) that all rows share (section 6.1).

    ``log_expected`` [n], the log of each label's expected count, is subtracted from its logits;
    negatives that are a row's own target (accidental hits) do not count. ``rows_only``: the
    gradient of ``weight`` is a sparse tensor of the rows that were used.
    """
    corrected = bias - log_expected
    return _SampledSoftmax.apply(vectors, weight, corrected, targets, negatives, rows_only)


def bpr_loss(
    vectors: Tensor, weight: Tensor, bias: Tensor, positives: Tensor, negatives: Tensor
) -> Tensor:
    """Return the mean of -log sigmoid(score of the positive - score of the negative) (BPR).

    ``positives`` and ``negatives`` are labels, int64 [N]; the others as in ``softmax_loss``.
    """
    margin = (vectors * (weight[positives] - weight[negatives])).sum(1)
    return F.softplus(-margin - bias[positives] + bias[negatives]).mean()


class _Softmax(torch.autograd.Function):
    """``softmax_loss``, with gradients computed along with it, chunk by chunk of rows."""

    @staticmethod
    def forward(ctx, vectors, weight, bias, targets) -> Tensor:
        grad_vectors, grad_weight = torch.empty_like(vectors), torch.zeros_like(weight)
        grad_bias = torch.zeros_like(bias)
        chance = torch.empty_like(vectors[:, 0])  # of each row's target
        for rows, logits, buffer in _chunks(vectors, len(weight)):
            scores_into(logits, vectors[rows], weight, bias)
            probabilities = torch.softmax(logits, 1, out=buffer)
            chance[rows] = probabilities.gather(1, targets[rows, None]).squeeze(1)
            grad_bias += probabilities.sum(0)
            torch.mm(probabilities, weight, out=grad_vectors[rows])
            grad_weight.addmm_(probabilities.t(), vectors[rows])
        grad_vectors -= weight[targets]
        grad_weight.index_add_(0, targets, vectors, alpha=-1)
        grad_bias.index_add_(0, targets, torch.ones_like(chance), alpha=-1)
        ctx.grads = [g.div_(len(vectors)) for g in (grad_vectors, grad_weight, grad_bias)]
        # A chance below the smallest float shows a loss of 87; its gradient is exact all the same.
        return -chance.clamp_min_(torch.finfo(chance.dtype).tiny).log_().mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(g * grad for g in ctx.grads), None)


class _SampledSoftmax(torch.autograd.Function):
    """``sampled_softmax_loss``, computed like ``_Softmax``."""

    @staticmethod
    def forward(ctx, vectors, weight, corrected, targets, negatives, rows_only) -> Tensor:
        others, shift = weight[negatives], corrected[negatives]
        target_logits = (vectors * weight[targets]).sum(1) + corrected[targets]
        column = targets.new_full((len(weight),), -1)
        column[negatives] = torch.arange(len(negatives), device=negatives.device)
        hits = column[targets][:, None]
        losses, missed = torch.empty_like(target_logits), torch.empty_like(target_logits)
        grad_vectors, grad_others = torch.empty_like(vectors), torch.zeros_like(others)
        grad_shift = torch.zeros_like(shift)
        for rows, logits, buffer in _chunks(vectors, len(negatives)):
            scores_into(logits, vectors[rows], others, shift)
            at = hits[rows].clamp_min(0)
            lowest = torch.finfo(logits.dtype).min  # -inf gives nan where nothing else was drawn
            logits.scatter_(1, at, torch.where(hits[rows] < 0, logits.gather(1, at), lowest))
            top = logits.amax(1)
            probabilities = torch.softmax(logits, 1, out=buffer)  # among the negatives only
            margin = top - probabilities.amax(1).log() - target_logits[rows]
            losses[rows] = F.softplus(margin)
            missed[rows] = margin.sigmoid()  # the chance of all negatives together
            grad_shift.addmv_(probabilities.t(), missed[rows])
            torch.mm(probabilities, others, out=grad_vectors[rows])
            grad_others.addmm_(probabilities.t(), vectors[rows] * missed[rows, None])
        scale = missed / len(vectors)
        used = torch.cat([targets, negatives])
        gradients = torch.cat([vectors * -scale[:, None], grad_others / len(vectors)])
        grad_corrected = torch.zeros_like(corrected)
        grad_corrected.index_add_(0, used, torch.cat([-scale, grad_shift / len(vectors)]))
        if rows_only:
            shape = weight.shape
            grad_weight = torch.sparse_coo_tensor(
                used[None], gradients, shape, check_invariants=False
            )
        else:
            grad_weight = torch.zeros_like(weight).index_add_(0, used, gradients)
        ctx.grads = [(grad_vectors - weight[targets]) * scale[:, None], grad_weight, grad_corrected]
        return losses.mean()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(g * grad for g in ctx.grads), None, None, None)


def _chunks(inputs: Tensor, columns: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield row ranges, each with two buffers [rows, columns] that are reused (no page faults)."""
    step = max(1, min(len(inputs), chunk_rows(columns, inputs.device)))
    buffers = inputs.new_empty(2, step, columns)
    for start in range(0, len(inputs), step):
        rows = slice(start, min(start + step, len(inputs)))
        yield rows, *buffers[:, : rows.stop - rows.start]


def chunk_rows(columns: int, device: torch.device) -> int:
    """Return how many rows of so many logits a softmax loss holds at a time."""
    if device.type == "cuda":  # where no cache decides, only memory
        return MAX_CHUNK_ELEMENTS // columns
    few = min(LARGE_CHUNK_ROWS, MAX_CHUNK_ELEMENTS // columns)
    rows = CHUNK_ELEMENTS // columns
    return rows if rows >= MIN_CHUNK_ROWS else max(MIN_CHUNK_ROWS, few)
