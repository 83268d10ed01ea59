"""What a change did: this version against another commit, by turns in fresh processes."""

import contextlib
import signal
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

from benchmarks.measure import LIBRARY, BenchError, child

PROTOCOL = "conure_lib/bench/once.py"


def run_compare(base: str, rounds: int, threads: int, quick: bool = False) -> list[dict]:
    """Prints and returns per part: name, base_ms and now_ms of a step (medians), ratio (base / now, median).

    Uncommitted changes belong to this version. Only parts that both versions have are measured.
    Raises BenchError for a commit that does not exist or is too old to be measured.
    """
    options = ["--threads", str(threads), *(["--quick"] if quick else [])]
    with worktree(base) as old:
        trees = {"base": old, "now": LIBRARY}
        names = [_ask(tree, options)["parts"] for tree in trees.values()]
        common = [name for name in names[1] if name in names[0]]
        if not common:
            raise BenchError(f"{base} has no part of the benchmark in common with this version")
        found: list[dict[str, dict[str, float]]] = [
            {name: _ask(tree, [*options, *common])["seconds"] for name, tree in trees.items()}
            for _ in tqdm(range(rounds), desc="rounds", leave=False, disable=None)
        ]
    width = max(map(len, common))
    print(f"{'part':{width}} {base[:12]:>12} {'now':>12}    ratio")
    table = []
    for part in common:
        base_s, now_s = ([each[name][part] for each in found] for name in trees)
        row = {
            "part": part,
            "base_ms": 1000 * statistics.median(base_s),
            "now_ms": 1000 * statistics.median(now_s),
            "ratio": statistics.median(b / n for b, n in zip(base_s, now_s, strict=True)),
        }
        print(
            f"{part:{width}} {row['base_ms']:9.2f} ms {row['now_ms']:9.2f} ms {row['ratio']:7.2f}x"
        )
        table.append(row)
    for name, lacking in (("base", names[1]), ("now", names[0])):
        missing = [part for part in lacking if part not in common]
        if missing:
            print(f"not in {name}: {'; '.join(missing)}")
    return table


@contextlib.contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """A temporary checkout of a commit, which disappears whatever happens, a termination signal included."""
    found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
    if found.returncode:
        raise BenchError(
            f"{commit!r} is no commit of the repository in {LIBRARY}; wanted: one that git knows"
        )
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "base").resolve()
            try:
                added = _git(
                    "worktree", "add", "--quiet", "--detach", str(tree), found.stdout.strip()
                )
                if added.returncode:
                    raise BenchError(f"cannot check out {commit!r}: {added.stderr.strip()}")
                if not (tree / PROTOCOL).is_file():
                    raise BenchError(f"{commit!r} cannot be measured: it is older than {PROTOCOL}")
                yield tree
            finally:
                _git("worktree", "remove", "--force", str(tree))
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask(tree: Path, arguments: list[str]) -> dict:
    answer = child("once", *arguments, tree=tree)
    if not Path(answer["library"]).resolve().is_relative_to(tree):
        raise BenchError(f"{tree} was to be measured, but {answer['library']} was imported")
    return answer


def _stop(*_: object) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def _git(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["git", "-C", str(LIBRARY), *arguments], capture_output=True, text=True)
