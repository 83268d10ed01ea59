"""A tiny listening service as files: thirty listeners, twelve songs, three later tasks."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
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


def sequences_of(stream):
    """Return each user's latest items, int64 [U, L]."""
    return torch.from_numpy(stream.sequences[stream.input_rows]).long()


def plan_of(tasks=TASKS, **changes) -> dict:
    """Return the content of a plan that trains in a moment."""
    return {"title": "plays", "events": "plays.csv", "tasks": list(tasks), **QUICK, **changes}


def write_plan(file: Path, content: dict | str) -> Path:
    """Write a plan as YAML."""
    text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    file.write_text(text, encoding="utf-8")
    return file


def write_service(folder: Path) -> Path:
    """Write the tables and plan.yaml; plays stand in no order, two to eight belong to a user."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    plays = [(u, SONGS[rng.integers(12)], t) for u in USERS for t in range(2 + int(u[1:]) % 7)]
    plays = [plays[row] for row in rng.permutation(len(plays))]
    tables = {"plays": pd.DataFrame(plays, columns=["user", "item", "time"])}
    for name in ("likes", "later"):
        pairs = sorted({(user, SONGS[rng.integers(12)]) for user in USERS for _ in range(2)})
        tables[name] = pd.DataFrame(pairs, columns=["user", "label"])
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    ages = pd.DataFrame({"user": USERS, "label": ["old", "young"] * 15})
    ages.to_parquet(folder / "ages.parquet", index=False)
    write_plan(folder / "plan.yaml", plan_of())
    return folder
