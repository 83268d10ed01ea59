"""Streams on disk: complete or not there, mapped, verified; loading by name."""

import json
import os
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
from helpers import SMALL, files_below, flipped, small_stream

from conure_lib import paths
from conure_lib.config import DataConfig
from conure_lib.data import registry
from conure_lib.data.registry import DATASETS, is_at_hand, load, stored_at
from conure_lib.data.sources import synthetic
from conure_lib.data.stream import MANIFEST, STORED, load_stream, save_stream
from conure_lib.errors import DataError

STREAM = small_stream()
GROUPED = replace(STREAM, groups=np.arange(60, dtype=np.int32) // 7, split="20/80").fold(4)


@pytest.mark.parametrize("stream", [STREAM, GROUPED])
def test_a_stored_stream_comes_back(tmp_path, stream):
    for name in ("s", "t"):
        save_stream(stream, tmp_path / name)
    assert files_below(tmp_path / "s") == files_below(tmp_path / "t")
    again = load_stream(tmp_path / "s")
    assert again.digest() == stream.digest()
    assert (again.describe(), again.info) == (stream.describe(), stream.info)
    assert np.array_equal(again.groups, stream.groups)
    assert (again["T2"].split == stream["T2"].split).all()
    manifest = json.loads((tmp_path / "s" / MANIFEST).read_text())
    assert (manifest["digest"], manifest["n_users"]) == (stream.digest(), 60)


def test_changes_of_a_loaded_stream_stay_in_memory(tmp_path):
    save_stream(STREAM, tmp_path / "s")
    before = files_below(tmp_path)
    stream = load_stream(tmp_path / "s")
    for array in (stream.sequences, stream.input_rows, stream["T2"].labels, stream["T4"].blocks):
        array[...] = 0
    assert files_below(tmp_path) == before
    assert load_stream(tmp_path / "s").digest() == STREAM.digest()


def edited(change):
    """An edit of what a manifest says."""
    return lambda content: json.dumps(change(json.loads(content))).encode()


DAMAGES = [
    (STORED, None, "No such file"),
    (MANIFEST, None, "No such file"),
    (MANIFEST, lambda content: b"{", "expected a prepared stream"),
    (STORED, lambda content: b"", "expected a prepared stream"),
    (STORED, flipped, f"digest .* in {STORED}, not"),
    (MANIFEST, edited(lambda m: {k: m[k] for k in m if k != "n_items"}), "n_items"),
    (MANIFEST, edited(lambda m: m | {"tasks": m["tasks"][:-1]}), "digest .*, not"),
    (MANIFEST, edited(lambda m: m | {"tasks": [t | {"kind": "?"} for t in m["tasks"]]}), "digest"),
]


@pytest.mark.parametrize(("name", "damage", "named"), DAMAGES)
def test_a_damaged_stream_is_named_and_prepared_anew(root, capsys, name, damage, named):
    load(config := DataConfig("synthetic", SMALL))
    folder, before = stored_at(config), files_below(stored_at(config))
    (folder / name).write_bytes(damage(before[name])) if damage else (folder / name).unlink()
    with pytest.raises(DataError, match=rf"{folder}.*{named}.*delete the folder"):
        load_stream(folder)
    assert load(config).digest() == STREAM.digest()
    assert str(folder) in capsys.readouterr().err
    assert files_below(folder) == before


def test_loading_by_name(root, monkeypatch):
    stream = load(DataConfig("synthetic", SMALL))
    assert stream.digest() == synthetic.build(**SMALL).digest()
    assert len(list(paths.artifacts("streams").glob("[!.]*"))) == 1
    assert paths.artifacts("streams").is_relative_to(root)
    monkeypatch.setattr(registry, "file_lock", None)  # a second time nothing is written
    again = load(DataConfig("synthetic", dict(reversed(SMALL.items()))))
    assert again.digest() == stream.digest()
    monkeypatch.undo()
    assert load(DataConfig("synthetic", {**SMALL, "seed": 1})).digest() != stream.digest()


def test_the_content_of_the_files_decides_not_their_size_or_time(root, tmp_path):
    file = tmp_path / "ratings.csv"
    stars = ((1, 1, 1), (2, 3, 2), (3, 2, 3), (6, 4, 4), (7, 5, 5))  # item, stars, time
    rows = [f"{u},{i + u % 2 * 10},{s}.0,{t}" for u in range(40, 80) for i, s, t in stars]
    text = "userId,movieId,rating,timestamp\n" + "\n".join(rows) + "\n"
    file.write_text(text)
    config = DataConfig("ml-25m", {"path": str(file), "length": 3, "min_events": 2})
    before, at, status = load(config), stored_at(config), file.stat()
    file.write_text(text.replace("42,1,1.0,1", "42,3,1.0,1").replace("42,3,2.0,3", "42,1,2.0,3"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert stored_at(config) != at
    assert load(config).digest() != before.digest()
    (copied := tmp_path / "copy").mkdir()
    (copied / "ratings.csv").write_text(text)  # elsewhere, in a folder: the same content
    assert stored_at(DataConfig("ml-25m", {**config.options, "path": copied})) == at
    name, streams = "ml-latest-small", []  # a release without a checksum, as a zip in its place
    for content in (text, file.read_text()):
        archive = paths.artifacts("downloads") / name / f"{name}.zip"
        archive.parent.mkdir(parents=True, exist_ok=True)
        with ZipFile(archive, "w") as written:
            written.writestr(f"{name}/ratings.csv", content)
        streams.append(load(DataConfig(name, {"length": 3, "min_events": 2})).digest())
    assert streams[0] != streams[1]


WRONG = [
    ("mars", {}, "dataset: found 'mars', expected one of synthetic, "),
    ("synthetic", {"users": 5}, "synthetic, users: found an unknown field"),
    ("synthetic", {"n_users": "5"}, "synthetic, n_users: found '5', expected a valid integer"),
    ("ml-1m", {"length": 2.5}, "ml-1m, length: found 2.5, expected a valid integer"),
    ("ml-25m", {"path": "/no/where"}, r"ml-25m, path: found '/no/where' \(no such file\)"),
    ("ml-25m", {"path": "a\0b"}, "ml-25m, path: found 'a.x00b'"),
    ("ttl", {}, r"downloads/ttl/original_desen_pretrain.csv: found no such file"),
]


@pytest.mark.parametrize(("dataset", "options", "message"), WRONG)
def test_unknown_datasets_and_wrong_options(root, dataset, options, message):
    with pytest.raises(DataError, match=message):
        load(DataConfig(dataset, options))
    assert not list(root.rglob("*.json"))


def test_what_needs_no_download(root):
    load(DataConfig("synthetic", SMALL))
    assert [n for n in DATASETS if is_at_hand(DataConfig(n))] == ["synthetic", "complete-journey"]
    stored_at(DataConfig("ml-1m")).mkdir()
    assert is_at_hand(DataConfig("ml-1m"))
    assert all(record.what and record.origin and record.terms for record in DATASETS.values())
