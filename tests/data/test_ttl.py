"""The authors' format: ten users worked out by hand, and every kind of broken file."""

import numpy as np
import pytest
from helpers import pairs, refused

from conure_lib.config import DataConfig
from conure_lib.data.registry import stored_at
from conure_lib.data.sources import ttl
from conure_lib.errors import DataError
from conure_lib.files import file_digest

NAMES = {task: row[0] for task, row in ttl.TASKS.items()}
LENGTH = 4
SEQUENCES = ["0,0,70,500", "0,70,500,3", *(f"{n},3,70,500" for n in range(1001, 1009))]

CLICKS = [(0, 8), (0, 9), (1, 9), *((user, 8) for user in range(2, 10))]  # by rows of T1
TAILS = {"T2": ["9,8", "9", *["8"] * 8], "T3": ["5", *["7,900000,5"] * 9]}
TAILS |= {"T4": "3456789345", "T5": "0101010101", "T6": "1122112211"}
CONTENTS = {"T1": "".join(f"{sequence}\n" for sequence in SEQUENCES)}
CONTENTS |= {
    task: "".join(f"{sequence},,{tail}\n" for sequence, tail in zip(SEQUENCES, tails, strict=True))
    for task, tails in TAILS.items()
}


def write(folder, **changed):
    for task, content in (CONTENTS | changed).items():
        if content is not None:
            (folder / NAMES[task]).write_text(content, encoding="utf-8", newline="")
    return folder


def test_by_hand(tmp_path):
    stream = ttl.build(path=write(tmp_path), length=LENGTH)
    # items 3, 70, 500, 1001..1008 become 1, 2, 3, 4..11
    windows = [[0, 0, 2, 3], [0, 2, 3, 1], *([n, 1, 2, 3] for n in range(4, 12))]
    assert stream.sequences.tolist() == windows
    assert (stream.sequences.dtype, stream.n_items) == (np.int32, 11)
    assert stream.input_rows.tolist() == list(range(10))
    assert stream["T1"].labels.tolist() == [2, 0, *[2] * 8]
    assert pairs(stream, "T2") == CLICKS
    likes = [(0, 5), *((u, label) for u in range(1, 10) for label in (5, 7, 900_000))]
    assert pairs(stream, "T3") == likes
    assert [label for _, label in pairs(stream, "T4")] == [3, 4, 5, 6, 7, 8, 9, 3, 4, 5]
    assert [label for _, label in pairs(stream, "T5")] == [0, 1] * 5
    assert [t.kind for t in stream.tasks] == ["sequence", *["ranking"] * 2, *["classification"] * 3]
    assert stream.info["classes"]["T6"] == ["1", "2"]
    assert "authors" in stream.info["source"]
    assert stream.info["dropped"] == {}
    assert stream.info["files"] == {file.name: file_digest(file) for file in tmp_path.iterdir()}


def test_the_content_of_every_file_decides(tmp_path):
    places = {stored_at(DataConfig("ttl", {"path": str(write(tmp_path))}))}
    for task, content in CONTENTS.items():
        write(tmp_path, **{task: content + "\n"})
        places.add(stored_at(DataConfig("ttl", {"path": str(tmp_path)})))
    assert len(places) == 1 + len(CONTENTS)


def test_crlf_bom_no_last_line_end_other_names_and_fewer_tasks(tmp_path):
    files = {task: NAMES[task] for task in ("T1", "T5")}
    plain = ttl.build(path=write(tmp_path), length=LENGTH, files=files)
    one, five = (CONTENTS[task].replace("\n", "\r\n").encode() for task in files)
    (tmp_path / "one.csv").write_bytes(b"\xef\xbb\xbf" + one)
    (tmp_path / "five.csv").write_bytes(five.removesuffix(b"\r\n"))
    other = ttl.build(path=tmp_path, length=LENGTH, files={"T5": "five.csv", "T1": "one.csv"})
    assert [t.name for t in other.tasks] == ["T1", "T5"]
    assert other.digest() == plain.digest()


def test_a_user_may_stand_on_several_lines_of_a_ranking_task(tmp_path):
    several = CONTENTS["T2"].replace(",,9,8\n", f",,9\n{SEQUENCES[0]},,8\n")
    stream = ttl.build(path=write(tmp_path, T2=several), length=LENGTH)
    assert pairs(stream, "T2") == CLICKS


def test_repeated_sequences_can_be_dropped_with_their_labels(tmp_path):
    write(tmp_path, T1=CONTENTS["T1"] + f"{SEQUENCES[0]}\n" * 2)
    stream = ttl.build(path=tmp_path, length=LENGTH, duplicates="drop")
    assert stream.n_users == 9
    assert stream.sequences[0].tolist() == [0, 2, 3, 1]
    assert pairs(stream, "T2") == CLICKS[2:]
    dropped = {f"labels of T{n}, of users without T1": 1 for n in range(3, 7)}
    dropped["labels of T2, of users without T1"] = 2
    assert stream.info["dropped"] == {"T1 sequences that occur more than once": 3, **dropped}
    write(tmp_path, T1=CONTENTS["T1"] * 2)
    with refused(DataError, "found each sequence twice, expected some once"):
        ttl.build(path=tmp_path, length=LENGTH, duplicates="drop")


def test_unknown_users_and_rare_labels_can_be_dropped(tmp_path):
    write(tmp_path, T2=CONTENTS["T2"] + f"0,0,70,3,,8\n{SEQUENCES[3]},,77\n")
    stream = ttl.build(path=tmp_path, length=LENGTH, unknown_users="drop", min_label_count=2)
    assert pairs(stream, "T2") == CLICKS
    assert stream.info["dropped"] == {
        "labels of T2, of users without T1": 1,
        "labels of T2 that occur less than 2 times": 1,  # 77
    }


T1, T2 = CONTENTS["T1"], CONTENTS["T2"]
ITEMS, LINE = "zeros, then two whole numbers at least", "'0,0,17,5,,label,label'"
ENDS = ("0,1,x,3", "0,1,2.5,3", "0,-1,2,3", "0,1,2,9999999999", "1,2,3,0", "0,0,0,3")
CASES = [("T1", T1 + f"{end}\n", 11, repr(end), ITEMS) for end in ENDS]
ENDS = [SEQUENCES[0] + end for end in (",,", "", ",,7,", ",,-7", ",8")] + ["0,x,70,500,,8"]
CASES += [("T2", T2 + f"{end}\n", 11, repr(end), LINE) for end in ENDS]
CASES += [
    ("T1", "", 1, "found ''", ITEMS),
    ("T1", T1 + "0,1,2", 11, "found '3 items'", "expected 4"),
    ("T1", "0,1,2,3,4\n" + T1, 1, "found '5 items'", "another option length"),
    ("T1", T1 + "\n" + T1, 11, "found ''", ITEMS),
    ("T1", T1 + SEQUENCES[0] + "\n", 11, "in line 1", "duplicates='drop'"),
    ("T1", T1 + "0,1,2,é\n", 11, "Ã©", ITEMS),
    ("T2", "", 1, "found ''", LINE),
    ("T2", T2[:-3], 10, "found '1008,3,70,500,'", LINE),
    ("T2", T2 + "0,0,70,3,,8\n", 11, "'0,0,70,3'", "unknown_users='drop'"),
    ("T2", T2 + "70,500,,8\n", 11, "'70,500'", "a sequence of T1"),
]


@pytest.mark.parametrize(("task", "content", "line", "found", "expected"), CASES)
def test_broken_files(tmp_path, task, content, line, found, expected):
    write(tmp_path, **{task: content})
    with refused(DataError, f"{tmp_path / NAMES[task]}, line {line}: ", found, expected, "; "):
        ttl.build(path=tmp_path, length=LENGTH)
    assert len(list(tmp_path.iterdir())) == 6


OPTIONS = [
    ({}, r"original_desen_age\.csv: found no such file .* put it there"),
    ({"path": "/no/where"}, r"ttl, path: found '/no/where' \(no such file\)"),
    ({"files": {"T2": "x"}}, "expected T1 and at least one of T2 to T6"),
    ({"files": {"T1": "x", "T9": "y"}}, "expected T1 and at least one of T2 to T6"),
    ({"duplicates": "keep"}, "duplicates: found 'keep', expected 'error' or 'drop'"),
]


@pytest.mark.parametrize(("options", "message"), OPTIONS)
def test_missing_files_and_wrong_options(tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        ttl.build(**{"path": write(tmp_path, T4=None), "length": LENGTH, **options})
