"""OULAD: a tiny copy in all three forms, its six tasks by hand; the real tables where they are."""

import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from helpers import pairs, sizes

from conure_lib.config import DataConfig
from conure_lib.data import download as fetch
from conure_lib.data.registry import stored_at
from conure_lib.data.sources import oulad
from conure_lib.data.stream import FOLD_SEEDS, TEST
from conure_lib.errors import DataError, TransferError

SMALL = dict(length=4, min_events=3)
STUDENTS = range(1, 13)
REAL = os.environ.get("CONURE_OULAD")  # a folder with the real tables


def copy():
    """The three tables. Courses: A 2013J, from October 2013, and B 2014B, from February 2014.

    Students 1..12 take A and view pages 10, 11 (on one day) and 12; the even ones take B as well,
    where they view page 20 between those of A. Everybody opens one of the files 30 and 31 once,
    link 32 on two days, and file 33 twice on one day; every fourth does that on two days.
    """
    views = []
    for student in STUDENTS:
        views += [(student, 10, 5), (student, 11, 5), (student, 11, 5), (student, 12, 200)]
        if student % 2 == 0:
            views += [(student, 20, 3)]
        views += [(student, 30 + student % 2, 1), (student, 32, 1), (student, 32, 9)]
        views += [(student, 40, 1), (student, 33, 2), (student, 33, 6 if student % 4 == 0 else 2)]
    views += [(99, 10, 1)]  # too few views
    views = pd.DataFrame(views, columns=["id_student", "id_site", "date"]).assign(sum_click=1)
    kinds = dict.fromkeys((10, 11, 12), "oucontent") | {20: "glossary", 30: "resource"}
    kinds |= {31: "resource", 32: "url", 33: "resource", 40: "forumng"}
    pages = pd.DataFrame({"id_site": kinds, "activity_type": kinds}).assign(id_site=[*kinds])
    pages["code_module"] = np.where(pages["id_site"] == 20, "BBB", "AAA")
    pages["code_presentation"] = np.where(pages["id_site"] == 20, "2014B", "2013J")
    people = [("AAA", "2013J", student, "Withdrawn", "35-55") for student in (*STUDENTS, 99)]
    people += [("BBB", "2014B", student, "Pass", "0-35") for student in STUDENTS[1::2]]
    names = ["code_module", "code_presentation", "id_student", "final_result", "age_band"]
    people = pd.DataFrame(people, columns=names)
    people["gender"] = np.where(people["id_student"] % 3, "M", "F")
    return {"studentVle": views, "vle": pages, "studentInfo": people}


def write(folder, form, **tables):
    """Write Parquet, CSV with all values quoted, or a zip of that; return the path."""
    folder.mkdir(exist_ok=True)
    for name, table in (copy() | tables).items():
        if form == "parquet":
            table.to_parquet(folder / f"{name}.parquet")
        else:
            rows = table.sample(frac=1, random_state=0)
            rows.to_csv(folder / f"{name}.csv", index=False, quoting=1)
    return Path(shutil.make_archive(folder, "zip", folder)) if form == "zip" else folder


def test_six_tasks_by_hand(tmp_path):
    stream = oulad.build(path=write(tmp_path, "parquet"), **SMALL)
    assert stream.names.users.tolist() == [*STUDENTS]
    assert stream.names.items.tolist() == [10, 11, 12, 20]  # ids 1 to 4
    one, two = stream.sequences[::2], stream.sequences[1::2]
    assert np.unique(two[:, 2:], axis=0).tolist() == [[4, 3]]  # February 4, then April 19
    assert np.unique(one[:, [0, 3]], axis=0).tolist() == [[0, 3]]
    same_day = np.vstack([one[:, 1:3], two[:, :2]])
    assert np.unique(same_day, axis=0).tolist() == [[1, 2], [2, 1]]  # in either order
    once = [(s, label) for s in STUDENTS for label in (30 + s % 2, 33) if label < 33 or s % 4]
    assert pairs(stream, "T2") == once
    again = [(s, label) for s in STUDENTS for label in (32, 33) if label == 32 or s % 4 == 0]
    assert pairs(stream, "T3") == again
    last = [("above 35", "Withdrawn"), ("up to 35", "Pass")]
    assert pairs(stream, "T4") == [(s, last[s % 2 == 0][0]) for s in STUDENTS]
    assert pairs(stream, "T5") == [(s, "M" if s % 3 else "F") for s in STUDENTS]
    assert pairs(stream, "T6") == [(s, last[s % 2 == 0][1]) for s in STUDENTS]
    assert stream.groups.tolist() == [0, 1] * 6
    assert stream.groups.dtype == np.int32
    assert stream.info["groups"] == ["AAA 2013J", "BBB 2014B"]
    dropped = stream.info["dropped"]
    assert dropped["views of other kinds of pages"] == 12
    assert dropped["further views of a page on the same day"] == 12 + 9
    assert dropped["earlier registrations of a student"] == 6
    assert dropped["labels of T4, of users without T1"] == 1


def test_every_form_gives_the_same_stream(tmp_path):
    paths = [write(tmp_path / form, form) for form in ("parquet", "csv", "zip")]
    assert len({oulad.build(path=path, **SMALL).digest() for path in paths}) == 1


def test_a_random_subset_of_the_students(tmp_path):
    folder = write(tmp_path, "parquet")
    chosen = [oulad.build(path=folder, students=n, **SMALL).names.users.tolist() for n in (8, 9)]
    assert [len(users) for users in chosen] == [8, 9]
    assert set(chosen[0]) < set(chosen[1]) < set(STUDENTS)
    other = oulad.build(path=folder, students=8, seed=1, **SMALL)
    assert other.names.users.tolist() != chosen[0]
    assert other.info["dropped"]["students who are not in the random subset"] == 4


def test_what_was_put_there_comes_first_then_the_first_site_that_answers(root, monkeypatch):
    archive = write(root / "official", "zip")
    download = Mock(side_effect=[TransferError("no answer"), archive])
    monkeypatch.setattr(fetch, "download", download)
    official = oulad.build(**SMALL)
    sums = [checksum for _, checksum in oulad.DOWNLOADS.values()]
    assert [call.args[2] for call in download.call_args_list] == [f"sha256:{one}" for one in sums]
    (folder := root / "artifacts/downloads/oulad").mkdir(parents=True)
    before = stored_at(DataConfig("oulad"))
    write(folder, "parquet")
    assert oulad.build(**SMALL).digest() == official.digest()
    assert stored_at(DataConfig("oulad")) != before
    assert download.call_count == 2


WRONG = [
    ("vle", lambda t: t.drop(columns="activity_type"), "parquet", r"vle\.parquet: found"),
    ("vle", lambda t: t.assign(code_presentation="2013X"), "csv", "'2013X', expected .* as 2013J"),
    ("studentVle", lambda t: t.assign(date="soon"), "csv", r"studentVle\.csv: found .*soon"),
    ("studentVle", lambda t: t.assign(date=None), "parquet", "column 'date': found no value"),
    ("vle", lambda t: t.iloc[[0, *range(9)]], "csv", "vle: found id_site 10 again"),
    ("vle", lambda t: t[:0], "csv", r"vle\.csv: found no row"),
    ("studentInfo", lambda t: t[t["id_student"] != 7], "csv", "studentInfo: found no id_student 7"),
]


@pytest.mark.parametrize(("name", "change", "form", "said"), WRONG)
def test_wrong_tables(tmp_path, name, change, form, said):
    folder = write(tmp_path, form, **{name: change(copy()[name])})
    with pytest.raises(DataError, match=said):
        oulad.build(path=folder, **SMALL)


@pytest.mark.skipif(not REAL, reason="CONURE_OULAD does not name the folder of the tables")
def test_the_real_tables():
    stream = oulad.build(path=REAL)
    ranking = [[132_938, 2_197, 24_478], [404_194, 3_503, 24_103], [219_113, 2_649, 22_327]]
    assert sizes(stream) == [*ranking, *([24_478, classes, 24_478] for classes in (2, 2, 4))]
    assert len(stream.info["groups"]) == 22
    assert stream.info["shared_time"]["share"] == 0.9025
    tested = sum(len(stream.fold(seed)["T3"].rows(TEST)) for seed in FOLD_SEEDS)
    assert tested == pytest.approx(0.9 * 219_113, abs=2)
