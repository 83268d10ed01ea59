"""Writes generated data with planted structure in the official formats of TTL and MovieLens 25M.

``python -m benchmarks.official_formats ttl FOLDER --share 0.01`` has 1% of the users of the paper's
data and catalogues of a tenth of its size (the square root); ``conure study --option path=FOLDER``
reads it like the real files.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from conure_lib.data.sources import synthetic, ttl
from conure_lib.data.stream import PAD, TaskStream

TTL = {"n_users": 1_470_000, "n_items": 646_000, "n_labels": 18_000}
TTL_SHAPE = {"length": 100, "clicks": 1.84, "likes": 0.18, "half_full": 0.3}
MOVIES = {"n_users": 162_541, "n_items": 54_000, "n_labels": 26_000}
MOVIES_SHAPE = {"length": 150, "clicks": 18.8, "likes": 5.0, "half_full": 1.0}  # 77 events a user
LEAST = {"n_users": 200, "n_items": 64, "n_labels": 16}
T1_RATINGS, T2_RATINGS = np.arange(0.5, 4.0, 0.5), np.array([4.0, 4.5])
START = 1_000_000_000  # the first timestamp, in seconds


def generated(full: dict[str, int], shape: dict[str, float], share: float) -> TaskStream:
    """Return a synthetic stream with a share of the users, and its root of the catalogues."""
    shares = {"n_users": share, "n_items": share**0.5, "n_labels": share**0.5}
    sizes = {name: max(LEAST[name], round(n * shares[name])) for name, n in full.items()}
    return synthetic.build(**sizes, **shape)


def write_ttl(folder: Path, share: float) -> TaskStream:
    """Write the authors' six text files; a line per user and task, in the stream's order."""
    stream = generated(TTL, TTL_SHAPE, share)
    lines = pd.DataFrame(stream.sequences).astype(str).agg(",".join, axis=1)
    folder.mkdir(parents=True, exist_ok=True)
    once = ~lines.duplicated(keep=False)  # the sequence is the user's only key
    for task in stream.tasks:
        file = folder / ttl.TASKS[task.name][0]
        if task.kind == "sequence":
            text = lines[once]
        else:
            labels = pd.Series(task.labels.astype(str)).groupby(task.users).agg(",".join)
            users = labels.index[once[labels.index]]
            text = lines[users] + ",," + labels[users]
        file.write_text("\n".join([*text, ""]), encoding="utf-8")
    return stream


def write_movielens(folder: Path, share: float) -> TaskStream:
    """Write ratings.csv: sequences as ratings below 4 in time order, labels as 4, 4.5 and 5."""
    stream, rng = generated(MOVIES, MOVIES_SHAPE, share), np.random.default_rng(0)
    users, place = np.nonzero(stream.sequences != PAD)
    movies, stars = stream.sequences[users, place], rng.choice(T1_RATINGS, len(users))
    parts = [pd.DataFrame({"userId": users, "movieId": movies, "rating": stars, "at": place})]
    for name, choices in (("T2", T2_RATINGS), ("T3", [5.0])):
        task = stream[name]
        own = {"userId": task.users, "movieId": task.labels + stream.n_items + 1}
        own["rating"] = rng.choice(choices, len(task.users))
        parts.append(pd.DataFrame(own | {"at": rng.integers(1000, size=len(task.users))}))
    ratings = pd.concat(parts).drop_duplicates(["userId", "movieId"])  # a movie is rated once
    ratings["timestamp"] = START + 60 * ratings.pop("at")
    ratings["userId"] += 1
    folder.mkdir(parents=True, exist_ok=True)
    ratings.sort_values(["userId", "movieId"]).to_csv(folder / "ratings.csv", index=False)
    return stream


WRITERS = {"ttl": write_ttl, "ml-25m": write_movielens}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("format", choices=WRITERS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.01, help="of the users of the paper")
    options = parser.parse_args()
    written = WRITERS[options.format](options.folder, options.share)
    print(f"{written.n_users} users, {written.n_items} items: {options.folder.absolute()}")
