"""What serving one of six tasks costs, masked once or before every request (claim C20)."""

import statistics

import numpy as np
import torch

from benchmarks.cases import FULL, TOY, Call, Size, new_model, random_stream, six_tasks
from benchmarks.common import arguments, interleaved, write
from conure_lib.models.backbone import UserModel
from conure_lib.pipeline.provenance import environment
from conure_lib.training.determinism import limited_threads

TASK = "T2"
REQUESTS = 8  # one after the other in a timed call
MIN_ROUNDS, MAX_ROUNDS, SECONDS = 15, 101, 30.0
RESAMPLES = 10_000  # of the rounds, for the interval of a median


def measure(threads: int, quick: bool = False) -> dict:
    """Time requests for the scores of all labels of T2, at size (a), after six tasks.

    ``materialised``: the network cut out for the task, relative to one that never had owners;
    ``masked``: masking before every request, relative to materialised. Each is the median over
    rounds of the ratio within a round, ``low`` and ``high`` its 95% interval.
    """
    torch.manual_seed(0)
    size = (TOY if quick else FULL).a
    with limited_threads(threads), torch.no_grad():
        calls, equal = requests(size)
        rounds = interleaved(calls, MIN_ROUNDS, MAX_ROUNDS, SECONDS, "inference")
    ms = {name: 1000 * statistics.median(r[name] for r in rounds) / REQUESTS for name in calls}
    return {
        "environment": environment(),
        "threads": threads,
        "size": {"width": size.width, "convolutions": 2 * len(size.dilations)}
        | {name: getattr(size, name) for name in ("name", "length", "labels", "users")},
        "rounds": len(rounds),
        "requests_per_round": REQUESTS,
        **{f"{name}_ms": round(value, 4) for name, value in ms.items()},
        "materialised": median_ratio([r["materialised"] / r["plain"] for r in rounds]),
        "masked": median_ratio([r["masked"] / r["materialised"] for r in rounds]),
        "equal_bits": equal,
    }


def requests(size: Size) -> tuple[dict[str, Call], bool]:
    """Return the timed calls by name, and whether both ways of masking give the same bits."""
    stream = random_stream(size.users, size.length, size.items, size.labels)
    users = torch.from_numpy(stream.sequences).long()
    learner = six_tasks(size)
    plain = new_model(size, TASK, size.labels).requires_grad_(False)
    materialised, served = learner.for_task(TASK), learner.for_task(TASK)
    weights, masked = dict(learner.model.named_parameters()), dict(served.named_parameters())

    def serve(model: UserModel) -> torch.Tensor:
        return model.outputs[TASK](model.user_vectors(users))

    def mask_and_serve() -> torch.Tensor:
        for name in learner.owners:
            hidden = ~learner.visible(name, TASK)
            masked[name].copy_(weights[name]).masked_fill_(hidden, 0.0)
        return serve(served)

    once: dict[str, Call] = {
        "plain": lambda: serve(plain),
        "materialised": lambda: serve(materialised),
        "masked": mask_and_serve,
    }
    for name in learner.owners:
        masked[name].fill_(float("nan"))  # nothing is served but what a request masks anew
    equal = torch.equal(*(once[n]().view(torch.int32) for n in ("materialised", "masked")))
    return {n: lambda c=call: [c() for _ in range(REQUESTS)] for n, call in once.items()}, equal


def median_ratio(ratios: list[float]) -> dict[str, float]:
    """Return the median and its 95% interval by resampling the rounds."""
    drawn = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    found = {"median": statistics.median(ratios), "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in found.items()}


if __name__ == "__main__":
    options = arguments(__doc__)
    write("inference", measure(options.threads, options.quick), options)
