"""A tiny listening service as files: thirty listeners, twelve songs, two later tasks and a third to come."""

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

USERS = [f"u{number:02}" for number in range(30)]
SONGS = [f"s{number}" for number in range(12)]
TASKS = [
    {"name": "T2", "kind": "ranking", "title": "liked", "file": "likes.csv"},
    {"name": "T3", "kind": "classification", "file": "ages.parquet"},
]
FOURTH = {"name": "T4", "kind": "ranking", "file": "later.csv"}
QUICK = {
    "options": {"length": 5, "min_events": 2},
    "model": {"width": 8, "dilations": [1]},
    "train": {"T1": {"epochs": 2}, "*": {"epochs": 2, "batch_size": 16}},
    "retrain": {"epochs": 1},
}


def plan_of(tasks=TASKS, **changes) -> dict:
    return {"title": "plays", "events": "plays.csv", "tasks": list(tasks), **QUICK, **changes}


def write_plan(file: Path, content: dict | str) -> Path:
    file.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return file


def tables(folder: Path) -> Path:
    """Writes the tables and plan.yaml; rows of plays stand in no order, and two to eight belong to a user."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    plays = [
        (user, SONGS[rng.integers(12)], time)
        for user in USERS
        for time in range(2 + int(user[1:]) % 7)
    ]
    plays = [plays[row] for row in rng.permutation(len(plays))]
    pd.DataFrame(plays, columns=["user", "item", "time"]).to_csv(folder / "plays.csv", index=False)
    for name in ("likes", "later"):
        pairs = {(user, SONGS[rng.integers(12)]) for user in USERS for _ in range(2)}
        pd.DataFrame(sorted(pairs), columns=["user", "label"]).to_csv(
            folder / f"{name}.csv", index=False
        )
    ages = pd.DataFrame({"user": USERS, "label": ["old", "young"] * 15})
    ages.to_parquet(folder / "ages.parquet", index=False)
    write_plan(folder / "plan.yaml", plan_of())
    return folder
