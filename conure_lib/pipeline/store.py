"""What is kept of stages: the cache, verified before anything rests on it, and the committed copies."""

import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from conure_lib import paths
from conure_lib.errors import DamagedResultError
from conure_lib.files import atomic_folder, file_lock, remove_leftovers
from conure_lib.pipeline.records import ENVIRONMENT, RECORD
from conure_lib.pipeline.stage import PUBLISHED, RANKS, Stage


def tidy(stages: Iterable[Stage]) -> list[Stage]:
    """Removes what killed processes left, and each damaged folder of these stages and their ancestors.

    A damaged file (its digest is not the stored one, or it cannot be read) is named on stderr. Returns the stages
    that were removed. Committed records are left alone: reading a damaged one is an error.
    """
    for folder in (paths.artifacts(), paths.stages()):
        remove_leftovers(folder)
    removed = []
    for one in {one.id: one for stage in stages for one in stage.lineage()}.values():
        if _damage(one):
            with file_lock(one.folder):
                if damage := _damage(one):  # still: another process may have computed it again
                    print(f"conure: {damage}: done", file=sys.stderr)
                    shutil.rmtree(one.folder)
            removed.append(one)
    return removed


def _damage(stage: Stage) -> DamagedResultError | None:
    try:
        stage.verify()
    except DamagedResultError as damage:
        return damage
    return None


def publish(stages: Iterable[Stage]) -> None:
    """Copies the small files of computed stages to where they are committed, unless the same are there."""
    stages = list(stages)
    for dataset in {stage.study.data.dataset for stage in stages}:
        remove_leftovers(paths.published() / dataset)
    for stage in stages:
        for one in stage.lineage():
            target = paths.published() / one.study.data.dataset / one.id
            if not (one.folder / RECORD).is_file() or _same(one.folder, target):
                continue
            if target.is_dir():
                print(
                    f"conure: {target} differs from what was computed here: replaced",
                    file=sys.stderr,
                )
                shutil.rmtree(target, ignore_errors=True)
            with atomic_folder(target) as folder:
                for name in PUBLISHED:
                    shutil.copy(one.folder / name, folder / name)


def _same(computed: Path, published: Path) -> bool:
    """Whether the published results are these, wherever and whenever they were computed."""
    try:
        json.loads((published / ENVIRONMENT).read_text())
        return all(
            (computed / n).read_bytes() == (published / n).read_bytes() for n in (RECORD, RANKS)
        )
    except (OSError, ValueError):
        return False
