"""The demo shows forgetting, proves that there is none with protection, and writes beside git."""

import re

import pandas as pd
import pytest

from conure_lib import paths
from conure_lib.cli import main


@pytest.mark.slow
def test_the_demo_shows_what_is_forgotten_and_what_is_kept(root, capsys):
    assert main(["demo", "--users", "1000"]) == 0
    said = capsys.readouterr().out
    rows = re.findall(r"(?m)^ *(with\S*) protection +(T\d) ([\d. ]+)$", said)
    assert [after for _, after, _ in rows] == ["T1", "T2", "T3"] * 2
    scores = {(how, after): [*map(float, line.split())] for how, after, line in rows}
    popular = [float(score) for score in re.search(r"popularity +(.+)", said)[1].split()]
    for task in (0, 1):
        learned, in_the_end = (scores["without", after][task] for after in (f"T{task + 1}", "T3"))
        assert learned > 2 * popular[task]
        assert in_the_end < learned / 2
        assert f"T{task + 1} goes from {learned:.3f} to {in_the_end:.3f}" in said
        kept = {scores["with", after][task] for after in ("T1", "T2", "T3")[task:]}
        assert len(kept) == 1
        assert kept.pop() > 2 * popular[task]
    assert "After T3, what T1 and T2 use was" in said
    assert "only the 49% of the kernel weights" in said
    named = re.findall(r"\d\d_\w+\.ipynb", said)
    assert len(named) == 3
    assert all((paths.NOTEBOOKS / name).is_file() for name in named)
    png = paths.figures("demo", "synthetic", local=True) / "demo.png"
    assert f"wrote {png}" in said
    assert len(pd.read_csv(png.with_suffix(".csv"))) == 2 * (1 + 2 + 3)
    assert {path.name for path in root.iterdir()} == {"artifacts", "figures"}
    assert {path.name for path in (root / "figures").iterdir()} == {"local"}
