"""Each user's latest events out of a table of any length, read in blocks: what a user vector is made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from conure_lib.data.assemble import cut_windows
from conure_lib.data.sources.tables import checked_events, plain, readable
from conure_lib.errors import DataError

ROWS = 1 << 20  # of a block
CSV_BYTES = 1 << 24  # of a block


@dataclass(frozen=True)
class Latest:
    """users: ids as in the table, ascending [U]; sequences: int32 [U, length], each user's latest events.

    unknown_events: how many had an item that the model does not know. few: users left out, who have too few.
    """

    users: np.ndarray
    sequences: np.ndarray
    unknown_events: int
    few: int


def latest_windows(file: Path, items: np.ndarray, length: int, least: int) -> Latest:
    """The latest ``length`` known events of every user who has ``least`` of them at least.

    file: Parquet or CSV with columns user, item and, unless the rows stand in time order, time. items: what the
    model knows, item id i of the sequences being ``items[i - 1]``. The same windows as ``assemble`` makes of
    the same events; memory grows with the users, not with the events.
    Raises DataError that names the file, the column, what was found and the mend.
    """
    known = pd.Index(items)
    kept, counts, unknown = None, None, 0
    for number, block in enumerate(_blocks(file, pa.array(items).type)):
        rows = checked_events(block, f"{file}, block {number} of {ROWS} rows")
        if len(rows) and (
            pd.api.types.is_numeric_dtype(rows["item"]) != pd.api.types.is_numeric_dtype(items)
        ):
            raise DataError(
                f"{file}, column 'item': found {rows['item'].dtype}, wanted items as the model has learned them, "
                f"e.g. {items[0]!r}; write the column so"
            )
        rows = rows.assign(item=known.get_indexer(rows["item"]) + 1)
        unknown += int((rows["item"] == 0).sum())
        rows = rows[rows["item"] > 0]
        more = rows.groupby("user").size()
        counts = more if counts is None else counts.add(more, fill_value=0)
        kept = rows if kept is None else pd.concat([kept, rows])
        if "time" in kept:
            kept = kept.sort_values("time", kind="stable")  # equal times keep the order of the rows
        kept = kept.groupby("user").tail(length)
    if kept is None or kept.empty:
        raise DataError(
            f"{file}: found no event of an item that the model knows, wanted some; check the file"
        )
    few = counts[counts < least].index
    kept = kept[~kept["user"].isin(few)]
    users = pd.Index(np.sort(kept["user"].unique()))
    who = users.get_indexer(kept["user"])
    by_user = np.argsort(who, kind="stable")
    sequences, _, _ = cut_windows(
        who[by_user], kept["item"].to_numpy()[by_user], len(users), length, 1
    )
    return Latest(users.to_numpy(), sequences, unknown, len(few))


def _blocks(file: Path, item_type: pa.DataType) -> Iterator[pd.DataFrame]:
    if file.suffix not in (".parquet", ".csv"):
        raise DataError(
            f"{file}: found suffix {file.suffix!r}, wanted .parquet or .csv; convert the file"
        )
    if not file.is_file():
        raise DataError(
            f"{file}: found no such file, wanted a table of events; put it there or correct the name"
        )
    wanted = ["user", "item", "time"]
    with readable(file):
        if file.suffix == ".csv":
            convert = csv.ConvertOptions(
                column_types={"item": item_type},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            )
            reader = csv.open_csv(
                file, csv.ReadOptions(block_size=CSV_BYTES), convert_options=convert
            )
        else:
            table = pq.ParquetFile(file)
            names = [name for name in wanted if name in table.schema_arrow.names]
            reader = table.iter_batches(ROWS, columns=names)
        for batch in reader:
            yield plain(batch, file)
