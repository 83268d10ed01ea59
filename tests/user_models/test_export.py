"""A task taken out of a model, and vectors of users: the same bits as inside, and checked."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from helpers import (
    KINDS,
    NETWORKS,
    bytes_of,
    files_below,
    learner_of,
    logits,
    random_sequences,
    refused,
    small_study,
)
from small_service import USERS, sequences_of

from conure_lib.cli import main
from conure_lib.errors import ConfigError, DataError, VerificationError
from conure_lib.models.checkpoint import load_model
from conure_lib.models.ownership import ContinualModel
from conure_lib.study.study import Study
from conure_lib.training.evaluation import user_vectors
from conure_lib.user_models import export as module
from conure_lib.user_models.export import embed, export, open_saved
from conure_lib.user_models.plan import read_plan


@pytest.fixture
def stream(service):
    return read_plan(service / "mine" / "plan.yaml").stream()


def output_of(capsys, *arguments):
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_model_with_a_changed_bit_is_refused(model, tmp_path):
    shutil.copytree(model, folder := tmp_path / "model")
    content = (file := folder / "model.safetensors").read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with refused(DataError, f"{file}: found a changed file"):
        open_saved(folder, "T2")
    file.write_bytes(content)
    names = folder / "names.items.parquet"  # in another order vectors would be those of others
    pq.write_table(pq.read_table(names)[::-1], names)
    with refused(DataError, f"{names}: found a changed file"):
        open_saved(folder, "T2")
    shutil.copy(model / names.name, names)
    facts = folder / "stream.json"  # how histories are cut
    facts.write_text(facts.read_text().replace('"length": 5', '"length": 4'))
    with refused(DataError, f"{facts}: found a changed file"):
        open_saved(folder, "T2")
    (folder / "metrics.json").write_text("{")
    with refused(DataError, folder / "metrics.json"):
        open_saved(folder, "T2")


@pytest.mark.parametrize("task", ["T1", "T2", "T3"])
def test_an_exported_task_gives_the_models_outputs(model, stream, tmp_path, task, capsys):
    made = output_of(capsys, "export", "--model", model, "--task", task, "--out", tmp_path / "out")
    assert made["largest_difference"] == {"model.safetensors": 0.0}
    exported, rest, about = load_model(tmp_path / "out")
    assert (rest, list(exported.outputs), about["exported"]["length"]) == ({}, [task], 5)
    original = ContinualModel.load(model).for_task(task)
    ours, theirs = (logits(one, task, sequences_of(stream)) for one in (original, exported))
    assert bytes_of(ours) == bytes_of(theirs)
    labels = {"T1": [], "T2": ["names.T2.parquet"], "T3": ["names.T3.parquet"]}[task]
    assert made["files"] == ["model.json", "model.safetensors", *labels, "names.items.parquet"]
    files = files_below(tmp_path)
    export(open_saved(model, task), tmp_path / "out")
    assert files_below(tmp_path) == files, "an earlier export is replaced"


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_an_exported_program_of_every_network_takes_any_number_of_sequences(network, tmp_path):
    learner_of(KINDS, 4, **NETWORKS[network]).save(tmp_path / "learner")
    saved = open_saved(tmp_path / "learner", "T2")
    made = export(saved, tmp_path / "t2", program=True, length=5)
    assert made["largest_difference"]["program.pt2"] <= 1e-5
    program = torch.export.load(tmp_path / "t2" / "program.pt2").module()  # noqa: TID251
    for rows in (1, 5, 30):
        items = random_sequences(rows, 5, 8)
        torch.testing.assert_close(program(items), saved(items), rtol=0, atol=1e-5)
    saved.model.hidden(items)  # tracing left nothing behind in what the model caches


def test_an_export_that_differs_is_refused_and_leaves_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "largest_difference", lambda *_: 1e-3)
    with pytest.raises(VerificationError, match=r"found 0.001, expected .* at most 0.0"):
        export(open_saved(model, "T2"), tmp_path / "t2")
    assert list(tmp_path.iterdir()) == []


def test_how_far_outputs_differ_is_seen(model):
    saved, other = open_saved(model, "T2"), open_saved(model, "T2")
    assert module.largest_difference(saved, other, 5) == 0
    with torch.no_grad():
        other.output.weight += 1e-3
        assert 0 < module.largest_difference(saved, other, 5) < 1


TABLES = [("T2", "plan.yaml"), ("T1", "plays.csv"), ("T3", "plays.parquet")]


@pytest.mark.parametrize(("task", "data"), TABLES)
def test_embedded_users_are_those_of_the_stream_in_its_order(
    service, model, stream, tmp_path, task, data, capsys
):
    plays = pd.read_csv(service / "mine" / "plays.csv")
    plays.to_parquet(service / "mine" / "plays.parquet", row_group_size=7)
    command = ["embed", "--model", model, "--task", task, "--data", service / "mine" / data]
    done = output_of(capsys, *command, "--out", tmp_path / "v.parquet")
    counts = {"users": 30, "left_out": 0, "unknown_events": 0, "notes": []}
    assert done == counts | {"file": str(tmp_path / "v.parquet")}
    table = pq.read_table(tmp_path / "v.parquet")
    assert table["user"].to_pylist() == stream.names.users.tolist() == USERS
    plain = ContinualModel.load(model).for_task(task)
    expected = user_vectors(plain, stream.sequences[stream.input_rows])
    assert np.array_equal(np.stack(table.to_pandas()["vector"]), expected.numpy())


def test_embedding_leaves_out_what_is_unknown(service, model, tmp_path, monkeypatch):
    plays = pd.read_csv(service / "mine" / "plays.csv")
    new = {"user": ["v1", "v1", "v1", "v2", "v2"], "item": ["s1", "s2", "new", "s3", "new"]}
    pd.concat([pd.DataFrame({**new, "time": 9}), plays]).to_parquet(tmp_path / "more.parquet")
    saved, tables = open_saved(model, "T2"), []
    for rows, batch in ((1 << 20, 4096), (3, 4)):
        monkeypatch.setattr("conure_lib.data.sources.tables.BLOCK_ROWS", rows)
        monkeypatch.setattr(module, "BATCH", batch)
        done = embed(saved, tmp_path / "more.parquet", tmp_path / "v.parquet")
        assert done == {"users": 31, "left_out": 1, "unknown_events": 2, "notes": []}
        tables.append(pd.read_parquet(tmp_path / "v.parquet"))
    assert tables[0]["user"].tolist() == [*USERS, "v1"]
    pd.testing.assert_frame_equal(*tables)


def test_a_prepared_dataset_is_embedded_by_rows_of_its_users(service, tmp_path, capsys):
    study = Study(small_study())
    run = study.run("Conure", 1, ("T1",))
    study.compute([run])
    options = [f"--option={name}={value}" for name, value in study.config.data.options.items()]
    folder = service / "artifacts" / "stages" / run.stages["T1"].id
    command = ["embed", "--model", folder, "--task", "T1", "--data", "synthetic", *options]
    output_of(capsys, *command, "--out", tmp_path / "v.parquet")
    table = pd.read_parquet(tmp_path / "v.parquet")
    assert table["user"].tolist() == list(range(study.stream.n_users))
    plain = run.stages["T1"].model().for_task("T1")
    expected = user_vectors(plain, study.stream.sequences[study.stream.input_rows])
    assert np.array_equal(np.stack(table["vector"]), expected.numpy())
    other = [*map(str, command), "--out", str(tmp_path / "w.parquet"), "--option=seed=3"]
    assert main(other) == 2
    assert "found a model of another stream" in capsys.readouterr().err
    assert not (tmp_path / "w.parquet").exists()


def test_what_cannot_be_opened_or_embedded_is_one_line(service, model, tmp_path):
    with refused(ConfigError, "found no task 'T9', expected one of T1, T2, T3"):
        open_saved(model, "T9")
    bare, plays = tmp_path / "bare", service / "mine" / "plays.csv"
    ContinualModel.load(model).save(bare)
    with refused(DataError, "found no stream.json, expected what conure run wrote"):
        embed(open_saved(bare, "T2"), plays, tmp_path / "v.parquet")
    with refused(ConfigError, "found no length of sequences, expected --length N"):
        export(open_saved(bare, "T2"), tmp_path / "out", program=True)
    (bare / "stream.json").write_text('{"length": 1, "min_events": 2, "columns": {}}')
    with refused(DataError, "stream.json, length: found 1, expected"):
        open_saved(bare, "T2")
    (tmp_path / "folder.parquet").mkdir()
    for name in ("vectors.csv", "folder.parquet", "x" * 300):
        with refused(ConfigError, "(--out)"):
            embed(open_saved(model, "T2"), plays, tmp_path / name)
