"""STL: T1's network fine-tuned for each task, so that T1 is forgotten (Fig. 2)."""

import torch
from torch import Tensor

from conure_lib.data.stream import TEST
from conure_lib.methods.actions import PROBE_USERS, Context, Outcome
from conure_lib.methods.method import Method, recipe
from conure_lib.models.backbone import UserModel
from conure_lib.training.evaluation import CUTOFF, evaluate, metric_of, user_vectors

SHOWN = 12  # outputs, as in the paper's Fig. 2


def finetune(c: Context) -> Outcome:
    """Train T1's whole network on this task; at T2 record what becomes of T1 (Fig. 2)."""
    model, first = c.parent.model, c.stream.tasks[0]
    if c.task.name != c.stream.tasks[1].name or not len(first.rows(TEST)):
        return c.train_new_output(model, also=model.backbone())
    sequences = c.stream.sequences[c.stream.input_rows[:PROBE_USERS]]
    kernels = {n: k.detach().clone() for n, k in model.kernels().items()}
    vectors, t1_metric = user_vectors(model, sequences), []

    def on_epoch(changed: UserModel, _: int) -> None:
        ranks = evaluate(changed, c.stream, first, TEST, CUTOFF)[first.name]
        t1_metric.append(metric_of(first.kind, ranks))

    outcome = c.train_new_output(model, also=model.backbone(), on_epoch=on_epoch)
    forgotten = c.test_ranks(model, first)
    outcome.ranks |= {f"{measure}-after": ranks for measure, ranks in forgotten.items()}
    outcome.notes["forgetting"] = {
        "metric_by_epoch": t1_metric,
        **weight_change(kernels, {n: k.detach() for n, k in model.kernels().items()}),
        **vector_change(vectors, user_vectors(model, sequences)),
    }
    return outcome


def weight_change(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict:
    """Return how kernels moved (Fig. 2, section 3.3), and an example: an input's first outputs.

    The example is that of the kernels in which the share that moved by over 20% is nearest to the
    share among all weights.
    """
    moves = {n: (after[n] - old).abs() / old.abs().clamp_min(1e-12) for n, old in before.items()}
    relative = torch.cat([moved.flatten() for moved in moves.values()]).double()
    share = float((relative > 0.2).double().mean())
    found = []
    for name, moved in moves.items():
        shares = (moved[..., :SHOWN] > 0.2).double().mean(-1).reshape(-1, moved.shape[-2]).mean(0)
        away = (shares - share).abs()  # by input
        found.append((float(away.min()), name, int(away.argmin())))
    _, kernel, row = min(found)
    return {
        "share_moved_over_20_percent": share,
        "share_moved_over_100_percent": float((relative > 1.0).double().mean()),
        "median_relative_change": float(relative.median()),
        "kernel": f"{kernel}, input {row}",
        "kernel_before": before[kernel][..., row, :SHOWN].flatten().tolist(),
        "kernel_after": after[kernel][..., row, :SHOWN].flatten().tolist(),
    }


def vector_change(before: Tensor, after: Tensor) -> dict:
    """Return how user vectors [n, k] moved (Fig. 2, section 3.3); the median one as an example."""
    cosines = torch.cosine_similarity(before, after)
    shown = int(cosines.cpu().median(0).indices)  # on a GPU the index is not deterministic
    return {
        "hidden_cosine": float(cosines.mean()),
        "hidden_relative_change": float(((after - before).norm(dim=1) / before.norm(dim=1)).mean()),
        "hidden_before": before[shown].tolist(),
        "hidden_after": after[shown].tolist(),
    }


_PARTS = {"actions": {"finetune": finetune}, "search": {}}
STL = Method("STL", recipe("finetune"), "#009E73", "D", (5, 1, 1, 1, 1, 1), **_PARTS)
