"""MovieLens: small files worked out by hand, both ways to ml-100k, every kind of broken file."""

import random
import shutil
import zipfile
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from helpers import pairs, refused

from conure_lib import paths
from conure_lib.config import DataConfig
from conure_lib.data import download as fetch
from conure_lib.data.registry import load, stored_at
from conure_lib.data.sources import movielens
from conure_lib.errors import DataError, TransferError
from conure_lib.files import file_digest

SMALL, NAMES = dict(length=3, min_events=2), ("100k", "1m", "25m", "32m", "latest-small")
ML_100K, ML_1M, ML_25M, ML_32M, LATEST = (movielens.builder(f"ml-{name}") for name in NAMES)
HEADER = "userId,movieId,rating,timestamp\n"
INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
USER = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
DIGESTS = {  # a faster way of reading must not give another stream
    "ml-100k": "8507c34b4b795af5e19d5397b5295597ed2bf5f404eb2d44a0e8c7d44fbb9d39",
    "ml-1m": "cf1afdfc5582425aa2aee8e11b1d42042a8226893f861015fde9a79729c389d1",
    "ml-25m": "554d7b7f876073c0cd9308a8836450c5e6799afe967922bc6811ce78c228c8bf",
}
USERS = range(1, 11)
AGES = (7, 17, 18, 24, 25, 35, 45, 50, 56, 73)
GROUPS = ["0-17", "0-17", "18-24", "18-24", "25-34", "35-44", "45-49", "50-55", "56+", "56+"]


def ratings():
    """User, item, stars, time. T1 of users 1..10: 102, 103 (same second), 101."""
    rows = [(11, 101, 3, 5), (11, 201, 4, 6)]
    for user in USERS:
        rows += [(user, 101, 2, 20), (user, 103, 1, 10), (user, 102, 3, 10)]
        rows += [(user, 200 + user % 2, 4, 7), (user, 300 + user % 3, 5, 1)]
    return rows


def people():
    jobs = ["none"] * 5 + ["writer"] * 5
    rows = [(u, AGES[u - 1], "FM"[u % 2], jobs[u - 1], "T8H1N") for u in USERS]
    return [*rows, (11, 30, "F", "artist", "00000")]


def text(rows, separator="\t", header=""):
    return header + "".join(separator.join(map(str, row)) + "\n" for row in rows)


def ml_100k(folder):
    (folder / "u.data").write_text(text(ratings()))
    (folder / "u.user").write_text(text(people(), "|"))
    return folder


def ml_1m(folder):
    ages = dict(enumerate((1, 1, 18, 18, 25, 35, 45, 50, 56, 56, 1), 1))
    users = [(u, g, ages[u], u % 3 + 18, z) for u, _, g, _, z in people()]
    (folder / "ratings.dat").write_text(text(ratings(), "::"))
    (folder / "users.dat").write_text(text(users, "::"))
    return folder


def csv_text():
    half = [(user, 210 + user % 2, 4.5, 8) for user in USERS]
    return text([(u, i, float(s), t) for u, i, s, t in ratings() + half], ",", HEADER)


def ml_csv(folder):
    (folder / "ratings.csv").write_text(csv_text())
    return folder


def assert_by_time(stream):
    """Items 2 and 3 share their second, in both orders among the users; 1 comes later."""
    assert np.unique(stream.sequences, axis=0).tolist() == [[2, 3, 1], [3, 2, 1]]
    assert stream.info["shared_time"] == {"events": 20, "share": 0.6667}


@pytest.mark.parametrize(("write", "build"), [(ml_100k, ML_100K), (ml_1m, ML_1M)])
def test_six_tasks_by_hand(tmp_path, write, build):
    stream = build(path=write(tmp_path), **SMALL)
    assert (stream.n_users, stream.n_items) == (10, 3)
    assert_by_time(stream)
    assert pairs(stream, "T2") == [(u, 200 + u % 2) for u in USERS]
    assert pairs(stream, "T3") == [(u, 300 + u % 3) for u in USERS]
    assert pairs(stream, "T4") == [*enumerate(GROUPS, 1)]
    assert pairs(stream, "T5") == [(u, "FM"[u % 2]) for u in USERS]
    coded = ["tradesman/craftsman", "unemployed", "writer"]  # codes 18, 19, 20
    jobs = (coded * 4)[1:11] if build is ML_1M else ["none"] * 5 + ["writer"] * 5
    assert pairs(stream, "T6") == [*enumerate(jobs, 1)]
    dropped = {f"labels of {task}, of users without T1": 1 for task in ("T2", "T4", "T5", "T6")}
    assert dropped.items() <= stream.info["dropped"].items()
    assert stream.info["files"] == {file.name: file_digest(file) for file in tmp_path.iterdir()}
    assert stream.info["readings"]["T2"] == "4 stars"
    assert stream.digest() == DIGESTS[stream.name]


def wheel_files(folder):
    """The same content as in the wheel: tabs, one header line, rows in another order."""
    rows, users = ratings(), people()
    random.Random(0).shuffle(rows)
    random.Random(1).shuffle(users)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ml-100k.inter").write_text(text(rows, "\t", INTER))
    (folder / "ml-100k.user").write_text(text(users, "\t", USER))
    return folder


def official_zip(folder):
    (source := folder / "ml-100k").mkdir()
    ml_100k(source)
    return Path(shutil.make_archive(folder / "ml-100k", "zip", folder, source.name))


def test_the_official_zip_comes_first_and_the_wheel_with_consent_only(root, monkeypatch):
    monkeypatch.delenv("CONURE_ALLOW_WHEEL", raising=False)
    download = Mock(return_value=official_zip(root))
    from_wheel = Mock(side_effect=lambda requirement, inside, files, folder: wheel_files(folder))
    monkeypatch.setattr(fetch, "download", download)
    monkeypatch.setattr(fetch, "from_wheel", from_wheel)
    official, folder = ML_100K(**SMALL), paths.artifacts("downloads") / "ml-100k"
    url = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    checksum, licence = "md5:0e33842e24a9c977be4e0107933c0723", movielens.LICENCES["ml-100k"]
    download.assert_called_once_with(url, folder / "ml-100k.zip", checksum, licence)
    download.side_effect = TransferError("no answer")
    with pytest.raises(TransferError, match="no answer; or set CONURE_ALLOW_WHEEL=1"):
        ML_100K(**SMALL)
    from_wheel.assert_not_called()
    monkeypatch.setenv("CONURE_ALLOW_WHEEL", "1")
    assert ML_100K(**SMALL).digest() == official.digest()
    inside = "recbole/dataset_example/ml-100k"
    from_wheel.assert_called_once_with("recbole==1.2.1", inside, movielens.WHEEL_FILES, folder)


BY_HAND = {"ml-100k": ml_100k, "ml-1m": ml_1m, "ml-25m": ml_csv}


@pytest.mark.parametrize("name", BY_HAND)
def test_files_unpacked_into_the_downloads_folder_are_used(root, monkeypatch, name):
    monkeypatch.setattr(fetch, "download", Mock(side_effect=AssertionError))
    (folder := paths.artifacts("downloads") / name).mkdir(parents=True)
    before = stored_at(config := DataConfig(name, SMALL))
    BY_HAND[name](folder)
    assert load(config).digest() == DIGESTS[name]
    assert stored_at(config) != before  # so that what was prepared before is not taken instead


READINGS = [
    ("4-or-4.5", [(u, item + u % 2) for u in USERS for item in (200, 210)]),
    ("above-4", [(u, 210 + u % 2) for u in USERS]),
]


@pytest.mark.parametrize(("reading", "liked"), READINGS)
def test_the_readings_of_higher_than_4(tmp_path, reading, liked):
    (file := tmp_path / "my_ratings.csv").write_text(csv_text())
    stream = ML_25M(path=file, t2_reading=reading, **SMALL)
    assert [t.name for t in stream.tasks] == ["T1", "T2", "T3"]
    assert_by_time(stream)
    assert pairs(stream, "T2") == liked
    assert pairs(stream, "T3") == [(u, 300 + u % 3) for u in USERS]
    fours = {"ratings of 4 stars, which belong to no task": 11}
    if reading == "4-or-4.5":
        assert stream.digest() == DIGESTS["ml-25m"]
    assert (fours.items() <= stream.info["dropped"].items()) == (reading == "above-4")
    with pytest.raises(DataError, match="t2_reading: found '4', expected '4-or"):
        ML_25M(path=file, t2_reading="4")


def test_zip_folder_file_bom_crlf_and_row_order_do_not_matter(tmp_path):
    header, *rows = (ml_csv(tmp_path) / "ratings.csv").read_text().splitlines()
    random.Random(0).shuffle(rows)
    other = b"\xef\xbb\xbf" + "\r\n".join([header, *rows]).encode()  # and no last line end
    (tmp_path / "windows.csv").write_bytes(other)
    with zipfile.ZipFile(tmp_path / "ml-32m.zip", "w") as pack:
        pack.write(tmp_path / "ratings.csv", "ml-32m/ratings.csv")
    sources = [tmp_path / n for n in ("", "ratings.csv", "windows.csv", "ml-32m.zip")]
    assert len({ML_32M(path=source, **SMALL).digest() for source in sources}) == 1


def replaced(line, new):
    """An edit that puts ``new`` in the place of one line (counted from 1)."""
    return lambda content: "".join(
        f"{new}\n" if number == line else old
        for number, old in enumerate(content.splitlines(True), 1)
    )


CSV_LINES = ("1,2,3.0", "", "1.5,2,3.0,7", "1,-2,3.0,7", "1,99999999999,3.0,7", "1,2,,7")
CSV_LINES += ("1000000000,2,3.0,7", "1,2,3.0,100000000000", "1,2,5.5,7", "1,2,0.0,7", "1,2,3.0,7 ")
WRONG_LINES = [  # which line they take the place of, and what is expected there
    ("u.data", 3, "user\titem\trating\ttime", ["1\t101\t0\t20", "1\t101\t2.5\t20"]),
    ("u.user", 2, "user|age|gender|job|zip code", ["2|17|X|none|0", "2|0|M|none|0"]),
    ("u.user", 2, "user|age|gender|job|zip code", ["2|17|M|7|0", "2|17|M|none"]),
    ("ratings.dat", 3, "user::item::rating::time", ["1::101::6::20", "1,101,2,20"]),
    ("users.dat", 2, "user::gender::age::job::zip code", ["2::M::17::3::0", "2::M::1::21::0"]),
    ("ratings.csv", 3, "user,item,rating,time", CSV_LINES),
]
CASES = [
    (file, replaced(number, line), number, f"found {line!r}", f"values of {fields!r}")
    for file, number, fields, lines in WRONG_LINES
    for line in lines
]
CSV_FIELDS = "values of 'user,item,rating,time'"
CASES += [
    ("u.user", replaced(2, "1|17|M|none|0"), 2, "found 'user 1'", "it once"),
    ("ratings.dat", replaced(4, "1::101::2::20"), 4, "item 101", "it once"),
    ("ratings.csv", replaced(5, "1,101,3.0,7"), 5, "user 1, item 101", "it once"),
    ("ratings.csv", lambda _: "", 1, "found ''", "'userId,movieId"),
    ("ratings.csv", lambda _: HEADER, 2, "found ''", CSV_FIELDS),
    ("ratings.csv", lambda c: c[:-7], 63, "found '10,210'", CSV_FIELDS),
    ("ratings.csv", replaced(1, "user,movie,rating,time"), 1, "'user,movie", "userId,movieId"),
    ("ratings.csv", replaced(3, "1,2,3.0,7é"), 3, "7Ã©'", CSV_FIELDS),
]
SOURCES = dict.fromkeys(("u.data", "u.user"), (ml_100k, ML_100K))
SOURCES |= dict.fromkeys(("ratings.dat", "users.dat"), (ml_1m, ML_1M))
SOURCES["ratings.csv"] = ml_csv, LATEST


@pytest.mark.parametrize(("broken", "edit", "line", "found", "expected"), CASES)
def test_broken_files(tmp_path, broken, edit, line, found, expected):
    write, build = SOURCES[broken]
    file = write(tmp_path) / broken
    file.write_text(edit(file.read_text()), encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with refused(DataError, f"{file}, line {line}: ", found, expected, "; "):
        build(path=tmp_path, **SMALL)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("code", [b"85|711", b"8\xe9711"])
def test_what_cannot_be_read_of_a_zip_code_is_one_line(tmp_path, code):
    file = ml_100k(tmp_path) / "u.user"
    first, rest = file.read_bytes().split(b"\n", 1)
    file.write_bytes(first.rpartition(b"|")[0] + b"|" + code + b"\n" + rest)
    with refused(DataError, f"{file}: found ", "expected 5 fields a line"):
        ML_100K(path=tmp_path, **SMALL)


def test_missing_files_and_wrong_places(tmp_path):
    with pytest.raises(DataError, match=r"ratings\.csv: found no such file .* put it there"):
        LATEST(path=tmp_path)
    (ml_100k(tmp_path) / "u.user").unlink()
    with pytest.raises(DataError, match=r"u\.user: found no such file beside \['u.data'\]"):
        ML_100K(path=tmp_path)
    with pytest.raises(DataError, match=r"u\.data: found a file, expected the official zip or a"):
        ML_100K(path=tmp_path / "u.data")
