"""What a GPU needs, tested without one where possible: it is never waited for, and repeats."""

import contextlib
from dataclasses import replace
from unittest.mock import Mock

import pytest
import torch
from helpers import NETWORKS, STEPS, files_below, model_for, small_stream, small_study
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from conure_lib.errors import ConfigError
from conure_lib.methods import METHODS
from conure_lib.study.study import Study
from conure_lib.training import loop
from conure_lib.training.batches import kind_of
from conure_lib.training.determinism import WORKSPACE, WORKSPACES, repeatable

STREAM = small_stream(half_full=0.8, length=9)
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
# Operators whose result's size or value the host must know:
SYNCHRONISING = {"_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select"}
SYNCHRONISING |= {"unique_dim", "unique_consecutive", "_unique2", "bincount", "repeat_interleave"}
TO_HOST = ("item", "tolist", "cpu", "numpy", "__array__")
TO_HOST += ("__bool__", "__int__", "__float__", "__index__")


class HostWaitsError(AssertionError):
    """On a GPU, the host would wait here until everything queued is done."""


class NoWaiting(TorchDispatchMode):
    """Fails on operators and methods for which the host must wait for a GPU."""

    def __enter__(self):
        self.patches = pytest.MonkeyPatch()
        for name in TO_HOST:
            self.patches.setattr(torch.Tensor, name, Mock(side_effect=HostWaitsError(name)))
        return super().__enter__()

    def __exit__(self, *given):
        self.patches.undo()
        return super().__exit__(*given)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator.name().partition("::")[2].partition(".")[0]
        indices = tree_leaves(args[1]) if name in ("index", "index_put", "index_put_") else []
        if name in SYNCHRONISING or any(x is not None and x.dtype == torch.bool for x in indices):
            raise HostWaitsError(name)
        return operator(*args, **(kwargs or {}))


WAITS = {
    "item": lambda x: x.sum().item(),
    "cpu": lambda x: x.cpu(),
    "nonzero": lambda x: x.nonzero(),
    "read by a mask": lambda x: x[x > 0],
    "written by a mask": lambda x: x.index_put_((x > 0,), x[0]),
    "all equal": lambda x: torch.equal(x, x + 1),
    "an if": lambda x: 1 if x[1] > 0 else 0,
}


@pytest.mark.parametrize("wait", WAITS)
def test_the_check_sees_every_way_to_wait(wait):
    x = torch.arange(4.0)
    with pytest.raises(HostWaitsError), NoWaiting():
        WAITS[wait](x)
    WAITS[wait](x)  # and lets everything pass afterwards


def during_steps(monkeypatch, context):
    """Put the context around all steps of an epoch, but not around its end."""

    def watched(batches, _):
        with context():
            yield from batches

    monkeypatch.setattr(loop, "with_bar", watched)


def training(kind, device="cpu", network="nextitnet"):
    """Train the kind's model one more epoch with every call; batches hold several buckets."""
    name, config = STEPS[kind]
    model, trainable, joint = model_for(kind, STREAM, network)
    model.to(device)
    mask = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    trainable = {n: mask.to(device) if n.endswith("kernel1") else None for n in trainable}
    config = replace(config, epochs=9, l2=0.0 if kind == "by rows" else 0.02)
    task = STREAM[name]
    batches = kind_of(task, trainable)(model, STREAM, task, config, 1, joint)
    return loop.epochs(batches, trainable)


EVERY_STEP = [(kind, "nextitnet") for kind in STEPS]
EVERY_STEP += [(kind, network) for kind in ("sequence", "joint") for network in [*NETWORKS][1:]]


@pytest.mark.parametrize(("kind", "network"), EVERY_STEP)
def test_no_step_asks_for_what_a_gpu_has_not_computed_yet(kind, network, monkeypatch):
    monkeypatch.setattr("conure_lib.models.padding.MIN_SAVED", 1)
    during_steps(monkeypatch, check := Mock(side_effect=NoWaiting))
    learning = training(kind, network=network)
    assert [next(learning) > 0 for _ in range(2)] == [True, True]
    assert check.call_count == 2


@CUDA
@pytest.mark.parametrize("kind", [k for k in STEPS if k != "by rows"])  # SparseAdam counts rows
def test_a_gpu_is_not_waited_for(kind, monkeypatch):
    monkeypatch.setenv(WORKSPACE, WORKSPACES[0])

    @contextlib.contextmanager
    def errors_on_waiting():
        torch.cuda.set_sync_debug_mode("error")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")

    learning = training(kind, "cuda")
    with repeatable("cuda"):
        during_steps(monkeypatch, contextlib.nullcontext)
        next(learning)  # plans, pinned memory and the optimiser's state come with the first steps
        during_steps(monkeypatch, errors_on_waiting)
        next(learning)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_a_study_is_computed_to_the_same_bytes(device, tmp_path, monkeypatch):
    monkeypatch.setenv(WORKSPACE, WORKSPACES[0])
    found, stream = [], small_stream(half_full=0.8)
    for name in ("one", "other"):
        monkeypatch.setattr("conure_lib.paths.ROOT", tmp_path / name)
        study = Study(small_study(device=device), stream)
        study.compute([study.run(method, 1, ("T1", "T2", "T4")) for method in METHODS])
        found.append(files_below(tmp_path / name))
    assert found[0] == found[1]
    assert len(found[0]) > 50


def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cuda.matmul.fp32_precision,
    )


@pytest.mark.parametrize("strict", [False, True])
def test_former_settings_come_back(strict, monkeypatch):
    monkeypatch.setenv(WORKSPACE, WORKSPACES[0])
    torch.use_deterministic_algorithms(strict, warn_only=strict)
    try:
        before = settings()
        assert before[:2] == (strict, strict)
        with contextlib.suppress(KeyError), repeatable("cuda"):
            assert settings() == (True, False, "ieee")
            raise KeyError
        assert settings() == before
        with repeatable("cpu"):
            assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("value", [None, "", ":0:0"])
def test_without_its_variable_cuda_is_refused_by_name(value, monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    if value is not None:
        monkeypatch.setenv(WORKSPACE, value)
    before, message = settings(), rf"^{WORKSPACE}: found .*, expected :4096:8 or"
    with pytest.raises(ConfigError, match=message), repeatable("cuda"):
        pass
    assert settings() == before
