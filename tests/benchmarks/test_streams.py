"""Streams of the paper's size: the official files that are written, and what is measured with them."""

import json

import numpy as np
import pytest

from conure_lib import paths
from conure_lib.bench import streams
from conure_lib.data.registry import BUILDERS

SHAPES = {shape.dataset: shape for shape in streams.TOYS}


@pytest.mark.parametrize("dataset", SHAPES)
def test_files_are_official_ones_of_the_shape(dataset, tmp_path):
    shape = SHAPES[dataset]
    file = streams.WRITERS[dataset](shape, tmp_path)
    stream = BUILDERS[dataset](
        path=str(tmp_path), **({"length": shape.length} if shape.length else {})
    )
    assert stream.n_items <= shape.items
    if dataset == "ml-25m":
        assert len(file.read_text().splitlines()) == 1 + shape.ratings
        assert [task.name for task in stream.tasks] == ["T1", "T2", "T3"]
        return
    assert [task.name for task in stream.tasks] == ["T1", "T2", "T3", "T4", "T5", "T6"]
    assert stream.n_users == shape.users
    half = (shape.users + 1) // 2
    assert [len(task.labels) for task in stream.tasks] == [
        shape.users,
        3 * half,
        half,
        half,
        half,
        half,
    ]
    assert 0.3 < (stream.sequences[:, 0] == 0).mean() < 0.7


def test_shapes_are_those_of_the_paper():
    ml, ttl = streams.SHAPES
    assert (ml.users, ml.items, ml.ratings) == (162_541, 59_047, 25_000_095)
    assert (ttl.users, ttl.items, ttl.length) == (1_470_000, 646_000, 100)


def test_what_is_measured_and_written(root, capsys):
    found = streams.run_data(quick=True)
    assert len(capsys.readouterr().out.splitlines()) == len(SHAPES) * len(streams.WORK)
    assert found == json.loads((paths.bench(True) / "data.json").read_text())
    for dataset, shape in SHAPES.items():
        row = found["datasets"][dataset]
        assert row["csv_bytes"] > 20 * max(shape.ratings, shape.users)
        for what in streams.WORK:
            assert row[what]["seconds"] >= 0
            assert 0 < row[what]["peak_gib"] < 2
    assert not list(paths.artifacts().glob("tmp*"))


def test_batches_read_every_training_sequence_once(tmp_path, monkeypatch):
    shape = SHAPES["ttl"]
    file = streams.write_ttl(shape, tmp_path)
    streams.prepare("ttl", tmp_path, file)
    seen = []
    monkeypatch.setattr(
        streams, "pieces", lambda padding, size: seen.append((len(padding), size)) or []
    )
    streams.batches("ttl", tmp_path, file)
    sequences = [number for number, size in seen if size == streams.BATCHES["sequence"]]
    assert sum(sequences) == pytest.approx(0.8 * shape.users, abs=3)
    assert np.mean(sequences) > 20
    assert any(size == streams.BATCHES["ranking"] for _, size in seen)
