"""What is stored is verified when it is read; what is published is read-only evidence."""

import json
import shutil
import subprocess

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers import files_below, flipped, refused, small_stream, small_study

from conure_lib import paths
from conure_lib.errors import ConfigError, DamagedResultError, MissingResultError
from conure_lib.pipeline import provenance, store
from conure_lib.pipeline.store import ENVIRONMENT, RECORD, LocalStore, publish
from conure_lib.study.study import Study

SHORT = ("T1", "T2")


def runs_of(study):
    return [study.run(method, 1, SHORT) for method in ("Conure", "STL", "Popularity")]


def stages_of(study):
    return [stage for run in runs_of(study) for stage in run.stages.values()]


DAMAGE = {"cut": lambda content: content[:-9], "flipped": flipped, "empty": lambda content: b""}
DAMAGED = [
    (name, change) for name in (RECORD, store.RANKS, ENVIRONMENT) for change in DAMAGE.values()
]
NONE = (b"[]", b"null", b"{}", b'{"sha256": 1}', b'{"digests": []}')
DAMAGED += [(ENVIRONMENT, lambda _, other=other: other) for other in NONE]
DAMAGED += [(RECORD, lambda content: content.replace(b'"value": 0.', b'"value": 1.'))]
DAMAGED += [(ENVIRONMENT, lambda content: content.replace(b"c" * 40, b"d" * 40))]


@pytest.mark.parametrize(("name", "damage"), DAMAGED)
def test_damaged_results_are_refused_by_name(study, name, damage):
    run = runs_of(study)[1]
    file = LocalStore().folder(run.stages["T2"].id) / name
    content = file.read_bytes()
    file.write_bytes(damage(content))
    assert file.read_bytes() != content
    for ask in (run.stages["T2"].record, lambda: study.results([run])):
        with refused(DamagedResultError, f"{file.parent} is damaged (", "delete it"):
            ask()


@pytest.mark.parametrize("name", [store.DESCRIPTION, store.WEIGHTS])
def test_a_damaged_checkpoint_is_no_start_for_a_child(study, name):
    stage = runs_of(study)[1].stages["T1"]
    file = LocalStore().folder(stage.id) / name
    file.write_bytes(flipped(file.read_bytes()))
    with pytest.raises(DamagedResultError, match=f"{name} is not what was written"):
        stage.model()
    assert stage.record()  # what it measured is sound


def evidence():
    return paths.results("smoke", "synthetic", local=False) / "seed-1.parquet"


def committed():
    study = Study(small_study(), small_stream(), store.CommittedStore("smoke", "synthetic"))
    return study, runs_of(study)


def test_published_results_are_read_as_they_were(study):
    expected, own = study.results(runs_of(study)), files_below(paths.artifacts("stages"))
    assert publish(stages_of(study)) == [evidence()]
    before = evidence().read_bytes()
    publish(reversed(stages_of(study)))
    assert evidence().read_bytes() == before
    shutil.rmtree(paths.artifacts())
    other, runs = committed()
    other.require(runs)
    other.ready(runs)
    pd.testing.assert_frame_equal(other.results(runs), expected)
    assert len(own) > len(pq.read_table(evidence())) == 6 + 1 + 2  # Conure, STL, popularity
    assert not paths.artifacts().exists()  # never trains
    assert runs[0].stages["T2"].ranks("T2").dtype == np.uint8
    with pytest.raises(ConfigError, match=r'read-only; load_study\(\.\.\., results="local"\)'):
        other.compute(runs)
    with pytest.raises(MissingResultError, match=r"no checkpoint of synthetic\.T2\.retrain.*make"):
        runs[0].stages["T2"].model()
    with pytest.raises(MissingResultError, match=r'make study.*SEEDS=2 and read results="local"'):
        other.run("STL", 2, SHORT).stages["T1"].record()


def test_published_results_know_what_their_networks_were_trained_on(study):
    publish(stages_of(study))
    of = lambda: store.CommittedStore("smoke", "synthetic").device  # noqa: E731
    assert of() == "cpu"
    there = {}
    for stage in stages_of(study):
        found = LocalStore().read(stage.id)
        floor = stage.step.action == "popularity"  # which is computed on the CPU
        spec = found.record["spec"] | ({} if floor else {"device": "cuda"})
        there[stage.id] = found._replace(record=found.record | {"spec": spec})
    store.write_evidence("smoke", "synthetic", 1, there)
    assert of() == "cuda"
    evidence().write_bytes(b"damaged")
    assert of() == "cpu"


@pytest.mark.parametrize(
    ("measure", "most"), [("T1", 20), ("T2-literal", 20), ("T1-all", 10), ("T1-all-after", 5)]
)
def test_published_ranks_are_those_that_a_metric_may_need(measure, most):
    kept = store.evidence_ranks(measure, np.arange(256, dtype=np.uint8))
    assert kept.dtype == np.uint8
    assert kept.tolist() == [*range(most + 1), *[0] * (255 - most)]


def test_a_published_model_is_loaded_for_its_own_stage_alone(study):
    publish(stages_of(study))
    first, last = runs_of(study)[0].stages.values()
    weights = last.model().model.state_dict()
    files = store.publish_model(last)
    assert [file.read_bytes() for file in files] == [
        (LocalStore().folder(last.id) / file.name).read_bytes() for file in files
    ]
    shutil.rmtree(paths.artifacts())
    first, last = committed()[1][0].stages.values()
    loaded = last.model()
    assert loaded.tasks == [*SHORT]
    torch.testing.assert_close(loaded.model.state_dict(), weights, rtol=0, atol=0)
    files[1].write_bytes(flipped(files[1].read_bytes()))
    for stage in (first, last):
        with pytest.raises(MissingResultError, match=f"no checkpoint of {stage.id}"):
            stage.model()


def better(row):
    record = json.loads(row["record"])
    record["metrics"][0]["value"] = 0.999
    row["record"] = json.dumps(record)


def other_ranks(row):
    (name, values), *others = row["ranks"]
    row["ranks"] = [(name, bytes([1]) + values[1:]), *others]


def elsewhere(row):
    row["environment"] = row["environment"].replace("c" * 40, "d" * 40)


def better_with_a_digest_that_fits(row):
    better(row)
    row["digest"] = store._row_digest(row)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (better, "is not what was written"),
        (other_ranks, "is not what was written"),
        (elsewhere, "is not what was written"),
        (better_with_a_digest_that_fits, ": 0.999, by its ranks 0."),
    ],
)
def test_forged_evidence_is_refused(study, change, said):
    publish(stages_of(study))
    rows = (table := pq.read_table(evidence())).to_pylist()
    change(next(row for row in rows if ".T2.retrain." in row["id"]))
    pq.write_table(pa.Table.from_pylist(rows, table.schema), evidence())
    named = f"{evidence()} is damaged (synthetic.T2.retrain.", f"git checkout -- {evidence()}"
    with refused(DamagedResultError, *named, said):
        Study.results(*committed())


@pytest.mark.parametrize("damage", DAMAGE.values())
def test_a_damaged_file_of_evidence_is_named(study, damage):
    publish(stages_of(study))
    evidence().write_bytes(damage(evidence().read_bytes()))
    with refused(DamagedResultError, f"git checkout -- {evidence()}"):
        Study.require(*committed())


@pytest.mark.parametrize("said", [{"status": " M conure_lib"}, {"rev-parse": None}])
def test_publishing_refuses_what_is_no_evidence(study, monkeypatch, said):
    """Uncommitted code, now or then; an unknown commit, never called clean; a missing stage."""

    def unclean(*arguments, clean=provenance._git):
        return said.get(arguments[0], clean(*arguments))

    (stage,) = study.run("Popularity", 2, ("T1",)).stages.values()
    with pytest.raises(MissingResultError, match=r"SEEDS=2"):
        publish([*stages_of(study), stage])
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "_git", unclean)
        with refused(ConfigError, "this checkout: found code that is not committed"):
            publish(stages_of(study))
        study.compute([study.run("Popularity", 2, ("T1",))])
    with refused(ConfigError, f"{stage.id}: found code that is not committed"):
        publish([*stages_of(study), stage])
    assert not evidence().exists()


def test_publishing_refuses_commits_that_are_lost(study, monkeypatch):
    monkeypatch.setattr(provenance, "is_known", lambda commit: False)
    with refused(ConfigError, f"found results of commit {'c' * 40}, which this branch does not"):
        publish(stages_of(study))
    assert not evidence().exists()


def compute_elsewhere(study, runs):
    """Compute on another kind of processor."""
    with pytest.MonkeyPatch.context() as patch:
        here = provenance.environment()
        stranger = {"vendor": "Somebody", "capability": "AVX2", "limits": {}}
        about = here | {"processor": here["processor"] | stranger}
        patch.setattr(provenance, "environment", lambda device="cpu": about)
        study.compute(runs)


def test_two_kinds_of_processors_are_no_result_and_computed_again(study, capsys):
    """STL's T2 was computed on another one."""
    runs = runs_of(study)
    shutil.rmtree(LocalStore().folder(runs[1].stages["T2"].id))
    compute_elsewhere(study, runs)
    with pytest.raises(MissingResultError, match=r"found results of .* and Somebody .* make study"):
        study.require(runs)
    with refused(ConfigError, "several kinds of processors: ", "Somebody", "AVX2", "(synthetic."):
        publish(stages_of(study))
    assert not evidence().exists()
    capsys.readouterr()
    study.compute(runs)
    assert "1 stage(s) of another kind of processor" in capsys.readouterr().err
    study.require(runs)
    study.compute(runs)
    assert capsys.readouterr().err == ""


def test_what_begins_apart_may_be_of_two_kinds_of_processors(root):
    """Seeds, and networks that share no T1: nothing is learned on both."""
    study = Study(small_study(seeds=(1, 2)), small_stream())
    (here, other_seed), (apart, *_) = (study.runs([name], SHORT) for name in ("STL", "EWC"))
    study.compute([here])
    compute_elsewhere(study, [other_seed, apart])
    study.require([here, other_seed, apart])


def test_what_is_published_need_not_be_computed_again(study):
    """Of another method, on another processor; all of it as before and one file."""
    before = study.results(runs_of(study))
    publish(stages_of(study))
    shutil.rmtree(paths.artifacts())
    added = study.run("EWC", 1, SHORT)
    with pytest.raises(MissingResultError, match=r"no result of synthetic\.T1\.start"):
        publish([*stages_of(study), *added.stages.values()])
    compute_elsewhere(study, [added])
    publish([*stages_of(study), *added.stages.values()])
    assert store.publish_model(runs_of(study)[0].stages["T2"]) == []
    shutil.rmtree(paths.artifacts())
    other, runs = committed()
    other.require([*runs, other.run("EWC", 1, SHORT)])
    pd.testing.assert_frame_equal(other.results(runs), before)
    assert len(pq.read_table(evidence())) == 9 + 2


def test_a_growing_chain_continues_on_another_kind(root):
    """A task that is appended: what was learned elsewhere stays, and its record says where."""
    study = Study(small_study(), small_stream(), growing=True)
    compute_elsewhere(study, [study.run("Conure", 1, ("T1",))])
    run = study.run("Conure", 1, SHORT)
    study.compute([run])
    study.require([run])
    kinds = [provenance.kind(run.stages[task].environment()) for task in SHORT]
    assert kinds[0].startswith("Somebody")
    assert kinds[1] == provenance.kind_here()


def test_the_processor_and_its_code_path_are_named(monkeypatch):
    for name in provenance.LIMITS:  # the whole suite may run under lowered instruction sets
        monkeypatch.delenv(name, raising=False)
    about = provenance.processor()
    assert {"vendor", "family", "model", "name", "machine", "capability", "limits"} == set(about)
    here = provenance.kind_here()
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert provenance.kind_here() == f"{here} MKL_CBWR=COMPATIBLE".replace("  ", " ")
    newer = provenance.versions() | {"torch": "9.0"}
    monkeypatch.setattr(provenance, "versions", lambda: newer)
    assert " torch 9.0 numpy " in provenance.kind_here()
    assert provenance.kind_here() != f"{here} MKL_CBWR=COMPATIBLE"


def test_code_that_changed_since_it_was_imported_is_not_clean(monkeypatch):
    """Even if it is committed by now."""
    monkeypatch.setattr(provenance, "_git", lambda command, *_: "" if command == "status" else "c")
    assert provenance.environment()["dirty"] is False
    monkeypatch.setattr(provenance, "source", lambda: "other")
    about = provenance.environment()
    assert (about["dirty"], about["source"]) == (True, provenance.SOURCE)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_one_line(root):
    study = Study(small_study(device="cuda"), small_stream())
    with pytest.raises(ConfigError, match="device: found 'cuda', expected 'cpu'"):
        study.compute(runs_of(study))


def test_another_projects_commit_is_unknown_and_never_clean(monkeypatch, tmp_path):
    """Unpacked inside somebody else's checkout, or installed: no commit, hence not clean."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *command], check=True)
    (inside := tmp_path / "vendored").mkdir()
    theirs = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in one of their hooks
    assert provenance.environment()["commit"] != theirs
    for checkout in (inside, None):
        monkeypatch.setattr(paths, "CHECKOUT", checkout)
        found = provenance.environment()
        assert (found["commit"], found["dirty"]) == ("unknown", None)
