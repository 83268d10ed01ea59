"""``conure bench inference``: what serving one task costs, masked once and for all or before every request."""

import json
import statistics

import numpy as np
import torch

from benchmarks.facts import six_tasks
from benchmarks.measure import interleaved
from benchmarks.parts import Call, new_model
from benchmarks.worlds import FULL, TOY, Size, random_stream
from conure_lib import paths
from conure_lib.models.nextitnet import UserModel
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.provenance import environment
from conure_lib.training.determinism import torch_threads

TASK = "T2"
REQUESTS = 8  # one after the other in a timed call
LEAST_ROUNDS, MOST_ROUNDS, BUDGET = (
    15,
    101,
    30.0,
)  # rounds, and seconds they may take unless too few fit
RESAMPLES = 10_000  # of the rounds, for the interval of a median


def run_inference(rounds: int, threads: int, quick: bool = False) -> dict:
    """Prints, returns and writes inference.json. rounds: at least, and never fewer than ``LEAST_ROUNDS``.

    A request is a batch of users whose scores for all labels of T2 are wanted, at size (a), from a network
    that learned six tasks. materialised: the network cut out for the task, over one of the same size that
    never had owners; masked: masking the weights before every request, over materialised. Each is the median
    over the rounds of the ratio within a round, low and high the 95% interval of this median.
    """
    torch.manual_seed(0)
    size = (TOY if quick else FULL).a
    with torch_threads(threads), torch.no_grad():
        calls, equal = requests(size)
        found = interleaved(calls, max(rounds, LEAST_ROUNDS), MOST_ROUNDS, BUDGET, "inference")
    ms = {name: 1000 * statistics.median(r[name] for r in found) / REQUESTS for name in calls}
    result = {
        "environment": environment(),
        "threads": threads,
        "size": {
            "name": size.name,
            "width": size.width,
            "convolutions": 2 * len(size.dilations),
            "length": size.length,
            "labels": size.labels,
            "users": size.users,
        },
        "rounds": len(found),
        "requests_per_round": REQUESTS,
        **{f"{name}_ms": round(value, 4) for name, value in ms.items()},
        "materialised": median_ratio([r["materialised"] / r["plain"] for r in found]),
        "masked": median_ratio([r["masked"] / r["materialised"] for r in found]),
        "equal_bits": equal,
    }
    ratios = [f"x{result[name]['median']:.3f}" for name in ("materialised", "masked")]
    print(
        f"inference ({size.name}), {size.users} users a request: {ms['plain']:.2f} ms without owners, "
        f"{ratios[0]} materialised, of that {ratios[1]} masked before every request",
        flush=True,
    )
    folder = paths.bench(quick)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "inference.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def requests(size: Size) -> tuple[dict[str, Call], bool]:
    """The calls by name, and whether both ways of masking give the same logits to the last bit."""
    users = torch.from_numpy(
        random_stream(size.users, size.length, size.items, size.labels).sequences
    ).long()
    learner = six_tasks(size)
    plain = new_model(size, TASK, "ranking", size.labels).requires_grad_(False)
    materialised, masked = learner.for_task(TASK), Masked(learner, TASK)

    def serve(model: UserModel) -> torch.Tensor:
        return model.outputs[TASK](model.user_vectors(users))

    calls = {
        "plain": lambda: [serve(plain) for _ in range(REQUESTS)],
        "materialised": lambda: [serve(materialised) for _ in range(REQUESTS)],
        "masked": lambda: [serve(masked.model()) for _ in range(REQUESTS)],
    }
    bits = [serve(model).view(torch.int32) for model in (materialised, masked.model())]
    return calls, torch.equal(*bits)


class Masked:
    """One task served from weights that all tasks share: masks are derived and applied anew each time."""

    def __init__(self, learner: ContinualModel, task: str) -> None:
        self.learner, self.task = learner, task
        self._served = learner.for_task(task)
        self._weights = dict(learner.model.named_parameters())
        self._into = {
            n: p.fill_(float("nan"))
            for n, p in self._served.named_parameters()
            if n in learner.owners
        }

    def model(self) -> UserModel:
        """The network for the next request."""
        for name, into in self._into.items():
            into.copy_(self._weights[name]).masked_fill_(
                ~self.learner.visible(name, self.task), 0.0
            )
        return self._served


def median_ratio(ratios: list[float]) -> dict[str, float]:
    """The median and its 95% interval by resampling the rounds."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    found = {"median": statistics.median(ratios), "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in found.items()}
