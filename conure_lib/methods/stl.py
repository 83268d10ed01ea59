"""STL: T1's network fine-tuned for each task, so that T1 is forgotten (Fig. 2)."""

import torch
from torch import Tensor

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import (
    BACKBONE,
    PROBE_USERS,
    Context,
    Outcome,
    ranks_on_test,
    train_new_output,
)
from conure_lib.methods.method import SEARCH, Method, after_t1
from conure_lib.models.nextitnet import UserModel
from conure_lib.training.evaluation import CUTOFF, evaluate, metric_of, user_vectors


def finetune(c: Context) -> Outcome:
    """Train T1's whole network on this task; at T2 record what becomes of T1 (Fig. 2)."""
    model, first = c.parent.model, c.stream.tasks[0]
    if c.task.name != c.stream.tasks[1].name:
        return train_new_output(c, model, also=BACKBONE)
    sequences = c.stream.sequences[c.stream.input_rows[:PROBE_USERS]]
    kernels = {n: k.detach().clone() for n, k in model.kernels().items()}
    vectors = user_vectors(model, sequences)
    t1_metric: list[float] = []

    def on_epoch(changed: UserModel, _: int) -> None:
        ranks = evaluate(changed, c.stream, first, TEST, max_rank=CUTOFF)
        t1_metric.append(metric_of(first.kind, ranks))

    outcome = train_new_output(c, model, also=BACKBONE, on_epoch=on_epoch)
    forgotten = ranks_on_test(model, c.stream, first)
    outcome.ranks |= {f"{measure}-after": ranks for measure, ranks in forgotten.items()}
    outcome.notes["forgetting"] = {
        "metric_by_epoch": t1_metric,
        **weight_change(kernels, {n: k.detach() for n, k in model.kernels().items()}),
        **vector_change(vectors, user_vectors(model, sequences)),
    }
    return outcome


def weight_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict:
    """Return how kernels moved (Fig. 2, section 3.3): shares of weights by relative change.

    As an example the last kernel's slice of 3 taps x 12 output channels, for the first input
    channel, is kept before and after.
    """
    old, new = (torch.cat([k.flatten() for k in kernels.values()]) for kernels in (before, after))
    relative = ((new - old).abs() / old.abs().clamp_min(1e-12)).double()
    last = list(before)[-1]
    return {
        "share_moved_over_20_percent": float((relative > 0.2).double().mean()),
        "share_moved_over_100_percent": float((relative > 1.0).double().mean()),
        "median_relative_change": float(relative.median()),
        "kernel": last,
        "kernel_before": before[last][:, 0, :12].flatten().tolist(),
        "kernel_after": after[last][:, 0, :12].flatten().tolist(),
    }


def vector_change(before: Tensor, after: Tensor) -> dict:
    """Return how user vectors [n, k] moved (Fig. 2, section 3.3); with the first user's own."""
    return {
        "hidden_cosine": float(torch.cosine_similarity(before, after).mean()),
        "hidden_relative_change": float(((after - before).norm(dim=1) / before.norm(dim=1)).mean()),
        "hidden_before": before[0].tolist(),
        "hidden_after": after[0].tolist(),
    }


RECIPE, ACTIONS, DASHES = after_t1("finetune"), {"finetune": finetune}, (5, 1, 1, 1, 1, 1)
STL = Method("STL", RECIPE, "#009E73", "D", DASHES, actions=ACTIONS, search=SEARCH)
