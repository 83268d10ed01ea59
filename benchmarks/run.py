"""``conure bench``: every part against the references, the facts beside them, and a figure."""

import json
import statistics

import torch
from matplotlib import pyplot as plt

from benchmarks.breakdown import shares
from benchmarks.drawing import draw_ratios
from benchmarks.facts import checkpoint, large_catalogue
from benchmarks.flops import gemm_gflops
from benchmarks.inference import run_inference
from benchmarks.measure import interleaved
from benchmarks.parts import Part, parts
from benchmarks.tricks import Trick, tricks
from benchmarks.worlds import FULL, TOY
from conure_lib import paths
from conure_lib.figures import write_figure
from conure_lib.pipeline.provenance import environment
from conure_lib.training.determinism import torch_threads

MOST_ROUNDS, BUDGET = (
    25,
    10.0,
)  # rounds of a part, and seconds they may take unless too few rounds fit
REFERENCES = ("port", "lean")


def run_bench(rounds: int, threads: int, quick: bool = False) -> dict:
    """Prints, returns and writes bench.json and bench.png (.pdf). rounds: of each part, at least.

    Per part: the median over the rounds of ours (ms a step), of each reference, and of the ratio; GFLOP/s of
    our products, which share that is of the fastest product of this run, and what ours spends its time on
    (``breakdown``). Then per trick the work with it
    against the work without it. At the end inference.json (``inference``). quick: toy sizes, under artifacts/.
    """
    torch.manual_seed(0)
    sizes = TOY if quick else FULL
    with torch_threads(threads):
        before = gemm_gflops(sizes.products)
        rows = []
        for part in parts(sizes):
            rows.append(measured(part, rounds))
            print(_line(rows[-1]), flush=True)
        brought = [_brought(trick, rounds) for trick in tricks(sizes)]
        gemm = {
            shape: max(before[shape], again) for shape, again in gemm_gflops(sizes.products).items()
        }
    for row in rows:
        row["share_of_peak"] = round(row["gflops"] / max(gemm.values()), 3)
    facts = {
        "large catalogue": large_catalogue(sizes.b, sizes.large, threads),
        "checkpoint (a)": checkpoint(sizes.a),
        "checkpoint (b)": checkpoint(sizes.b),
    }
    for name, fact in facts.items():
        print(f"{name}: {fact}", flush=True)
    result = {
        "environment": environment(),
        "threads": threads,
        "least_rounds": rounds,
        "gemm_gflops": {"peak": max(gemm.values()), "products": gemm},
        "parts": rows,
        "tricks": brought,
        **facts,
    }
    folder = paths.bench(quick)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    figure = draw_ratios(rows)
    write_figure(figure, folder / "bench")
    plt.close(figure)
    run_inference(rounds, threads, quick)
    return result


def measured(part: Part, rounds: int) -> dict:
    """A part's row. A reference that is not run has null for numbers, and the reason."""
    work = part.build()
    calls = {"ours": work.ours} | {
        name: call for name, call in work.references.items() if callable(call)
    }
    found = interleaved(calls, rounds, MOST_ROUNDS, BUDGET, part.name)
    milliseconds = {
        name: 1000 * statistics.median(r[name] for r in found) / work.steps for name in calls
    }
    row = {
        "name": part.name,
        "rounds": len(found),
        "steps": work.steps,
        "ours_ms": round(milliseconds["ours"], 3),
        "gflop": round(work.flop / work.steps / 1e9, 4),
        "gflops": round(work.flop / work.steps / 1e6 / milliseconds["ours"], 1),
        "target": part.target,
        "spent": shares(work.ours),
    }
    for name in REFERENCES:
        if name in calls:
            ratio = statistics.median(r[name] / r["ours"] for r in found)
            row[name] = {
                "ms": round(milliseconds[name], 3),
                "ratio": round(ratio, 2),
                "reason": None,
            }
        else:
            row[name] = {"ms": None, "ratio": None, "reason": work.references[name]}
    return row


def _brought(trick: Trick, rounds: int) -> dict:
    """A trick's row: how many times as fast the work is with it."""
    calls = dict(zip(("with", "without"), trick.build(), strict=True))
    found = interleaved(calls, rounds, MOST_ROUNDS, BUDGET / 2, trick.name)
    ratio = statistics.median(r["without"] / r["with"] for r in found)
    row = {"name": trick.name, "rounds": len(found), "ratio": round(ratio, 2)}
    row |= {
        f"{name}_ms": round(1000 * statistics.median(r[name] for r in found), 3) for name in calls
    }
    spent = f"{row['with_ms']:10.2f} ms instead of {row['without_ms']:10.2f}"
    print(f"{trick.name:52} {spent}  {ratio:6.2f}x", flush=True)
    return row


def _line(row: dict) -> str:
    ratios = (f"{row[n]['ratio']:.2f}x" if row[n]["ratio"] else "-" for n in REFERENCES)
    speed = f"{row['ours_ms']:10.2f} ms {row['gflops']:7.1f} GFLOP/s"
    return f"{row['name']:42} {speed}  " + "  ".join(map("{} {:>7}".format, REFERENCES, ratios))
