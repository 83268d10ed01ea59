"""What is kept of stages: the cache, verified before anything rests on it, and the committed copies."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from . import paths
from .config import ConfigError
from .records import ENVIRONMENT, RECORD, DamagedResult
from .stages import PUBLISHED, RANKS, Stage
from .whole import alone, sweep, whole_folder


def tidy(stages: Iterable[Stage]) -> list[Stage]:
    """Removes what killed processes left, and each damaged folder of these stages and their ancestors.

    A damaged file (its digest is not the stored one, or it cannot be read) is named on stderr. Returns the stages
    that were removed. Committed records are left alone: reading a damaged one is an error.
    """
    for folder in (paths.artifacts(), paths.stages()):
        sweep(folder)
    removed = []
    for one in {one.id: one for stage in stages for one in stage.lineage()}.values():
        if _damage(one):
            with alone(one.folder):
                if damage := _damage(one):  # still: another process may have computed it again
                    print(f"conure: {damage}: done", file=sys.stderr)
                    shutil.rmtree(one.folder)
            removed.append(one)
    return removed


def _damage(stage: Stage) -> DamagedResult | None:
    try:
        stage.verify()
    except DamagedResult as damage:
        return damage
    return None


def publish(stages: Iterable[Stage]) -> None:
    """Copies the small files of computed stages to where they are committed, unless the same are there.

    Raises ConfigError, before anything is copied, for what was trained in less than float32.
    """
    stages = list(stages)
    for stage in stages:
        if stage.study.precision != "float32":
            found = f"StudyConfig.precision = {stage.study.precision!r}; wanted: 'float32'"
            raise ConfigError(f"{found}, for reported metrics never come from low precision ({stage.id})")
    for dataset in {stage.study.data.dataset for stage in stages}:
        sweep(paths.published() / dataset)
    for stage in stages:
        for one in stage.lineage():
            target = paths.published() / one.study.data.dataset / one.id
            if not (one.folder / RECORD).is_file() or _same(one.folder, target):
                continue
            if target.is_dir():
                print(f"conure: {target} differs from what was computed here: replaced", file=sys.stderr)
                shutil.rmtree(target, ignore_errors=True)
            with whole_folder(target) as folder:
                for name in PUBLISHED:
                    shutil.copy(one.folder / name, folder / name)


def _same(computed: Path, published: Path) -> bool:
    """Whether the published results are these, wherever and whenever they were computed."""
    try:
        json.loads((published / ENVIRONMENT).read_text())
        return all((computed / n).read_bytes() == (published / n).read_bytes() for n in (RECORD, RANKS))
    except (OSError, ValueError):
        return False
