"""One version's side of a comparison: python -m benchmarks.once [--threads N] [--quick] [PART...]

One line of JSON: ``library``, the file this version was imported from; without parts ``parts``, the names of
all; else ``seconds``, a step's median per named part. Other versions call this: keep it as it is.
"""

import argparse
import json
import statistics

import torch

import conure_lib
from benchmarks.measure import interleaved
from benchmarks.parts import Part, parts
from benchmarks.worlds import FULL, TOY

MOST_CALLS, BUDGET = 10, 1.0  # calls of a part, and seconds that they may take


def main(argv: list[str] | None = None) -> None:
    """Measures the named parts, ours only. Exits with a message for a name that this version lacks."""
    parser = argparse.ArgumentParser("benchmarks.once")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("parts", nargs="*", metavar="PART")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    known = {part.name: part for part in parts(TOY if args.quick else FULL)}
    unknown = sorted(set(args.parts) - set(known))
    if unknown:
        parser.error(f"no part {unknown[0]!r}; the parts are {', '.join(known)}")
    answer: dict = {"library": conure_lib.__file__}
    if args.parts:
        answer["seconds"] = {name: _step_seconds(known[name]) for name in args.parts}
    else:
        answer["parts"] = list(known)
    print(json.dumps(answer))


def _step_seconds(part: Part) -> float:
    work = part.build()
    rounds = interleaved({"ours": work.ours}, 1, MOST_CALLS, BUDGET)
    return statistics.median(r["ours"] for r in rounds) / work.steps


if __name__ == "__main__":
    main()
