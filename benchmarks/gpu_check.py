"""What a GPU must do and how fast it is at the paper's size: one command, eight minutes at most.

``make gpu-check``, or ``python -m benchmarks.gpu_check``; with ``--device cpu --toy`` it only shows
that all of it runs. It needs PyTorch, pydantic, safetensors, pyarrow, pandas, SciPy, scikit-learn,
filelock and psutil; the section "tests" also pytest with xdist, hypothesis, distributed and pooch.
A section is written to results/local/benchmarks/gpu.json (with ``--publish`` on a GPU to
results/benchmarks) as soon as it ends, so that a run that is cut off leaves what it has measured.
"""

import argparse
import contextlib
import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when PyTorch starts

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.cases import PRODUCTS, Call, own_untrained, random_stream, trainer
from conure_lib import paths
from conure_lib.config import ModelConfig, TrainConfig
from conure_lib.data.sources import synthetic
from conure_lib.data.stream import TEST
from conure_lib.methods.conure import conure_chain
from conure_lib.models.nextitnet import NextItNet
from conure_lib.models.ownership import ContinualModel
from conure_lib.pipeline.provenance import environment
from conure_lib.pipeline.stage import Stage, compute_stage
from conure_lib.pipeline.store import ENVIRONMENT, LocalStore
from conure_lib.study.profiles import study_config
from conure_lib.training import loop
from conure_lib.training.batches import kind_of
from conure_lib.training.determinism import repeatable
from conure_lib.training.evaluation import evaluate, user_vectors

BUDGET = 460.0  # seconds; sections that would begin later are left out
LOSS_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-3  # CPU against GPU, relative; of a norm
DENSE_MATRIX, ROUNDS = 8192, 5


@dataclass(frozen=True)
class Scale:
    """Sizes: of TTL's and MovieLens' catalogues, the batches, and an epoch of ML-25M's T1."""

    ttl: int = 646_000
    ttl_labels: int = 18_000
    movies: int = 54_000
    movie_labels: int = 26_000
    epoch: int = 592_000  # 80% of the sequences of ML-25M
    width: int = 256
    batch: int = 512
    first_batch: int = 32
    steps: int = 10
    seconds: float = 15.0  # of the epoch that are measured


TOY = Scale(300, 40, 200, 30, 640, 16, 16, 8, 2, 0.2)


def check_tests(scale: Scale, device: str) -> dict:
    """Run the tests that need CUDA (they are skipped without it)."""
    command = ["-m", "pytest", "-q", "-n", "auto", "--maxprocesses", "8"]
    command += ["-p", "no:cacheprovider", "-k", "gpu or cuda"]
    files = ["tests/training/test_device.py", "tests/methods/test_forgetting.py"]
    done = subprocess.run(
        [sys.executable, *command, *files],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    return {"ok": done.returncode == 0, "said": done.stdout[-500:], "error": done.stderr[-500:]}


def check_bytes(scale: Scale, device: str) -> dict:
    """Compute T1 and T2 of Conure twice: the same bytes; T1's logits stay, to the bit."""
    sizes = {"n_users": 400, "n_items": max(64, scale.movies // 50), "n_labels": 64, "length": 30}
    stream, config = synthetic.build(**sizes), study_config("ml-25m", "paper")
    train = {key: replace(one, epochs=1) for key, one in config.train.items()}
    model = ModelConfig(scale.width, config.model.dilations)
    config = replace(config, train=train, model=model, device=device)
    chain, found = conure_chain(("T1", "T2")), []
    with tempfile.TemporaryDirectory() as folder:
        for name in ("one", "other"):
            last = Stage(chain["T2"]["retrain"], config, stream.digest(), 1)
            last = replace(last, store=LocalStore(Path(folder, name)))
            for stage in last.lineage():
                compute_stage(stage, stream)
            files = sorted(f for f in Path(folder, name).glob("*/*") if f.name != ENVIRONMENT)
            found.append({f.relative_to(Path(folder, name)): f.read_bytes() for f in files})
        memory = [one.record()["notes"]["memory"]["T1"] for one in last.lineage()[2:]]
    digests = ("weights_sha256", "logits_sha256")
    kept = all(len({one[key] for one in memory}) == 1 for key in digests)
    return {"ok": kept and found[0] == found[1], "no_forgetting": kept, "files": len(found[0])}


def check_against_cpu(scale: Scale, device: str) -> dict:
    """Compare the loss, its gradients and users' vectors of one batch with the CPU's, in fp32."""
    rows = {}
    for name, labels in (("T1", scale.movies), ("T2", scale.movie_labels)):
        stream = random_stream(64, 30, scale.movies, scale.movie_labels, half_full=True)
        there, values = paper_model(scale, 30, name, labels, "cpu"), []
        for where in ("cpu", device):
            model, task, config = copy.deepcopy(there).to(where), stream[name], TrainConfig()
            batches = kind_of(task, {"embedding": None})(model, stream, task, config, 0)
            with repeatable(where):
                total = 0.0
                for loss, _ in batches.losses(batches.epoch(1)[0]):
                    loss.backward()
                    total += loss.item()
                vectors = user_vectors(model, stream.sequences)
            grads = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
            values.append((total, torch.cat(grads), vectors.cpu()))
        (loss, gradient, vectors), (other, theirs, seen) = values
        rows[name] = {
            "loss": abs(other / loss - 1),
            "gradient": float((theirs - gradient).norm() / gradient.norm()),
            "vectors": float((seen - vectors).norm() / vectors.norm()),
        }
    limits = {"loss": LOSS_TOLERANCE, "gradient": GRADIENT_TOLERANCE, "vectors": GRADIENT_TOLERANCE}
    within = all(row[key] <= limits[key] for row in rows.values() for key in limits)
    return {"ok": within, "tolerance": limits, "differences": rows}


def paper_model(scale: Scale, length: int, task: str, labels: int, device: str) -> NextItNet:
    """Return the paper's network for sequences of a length: TTL's for 100, else MovieLens'."""
    generator, is_ttl = torch.Generator().manual_seed(0), length == 100
    config = ModelConfig(scale.width, (1, 4) * (4 if is_ttl else 6))
    model = NextItNet(config, scale.ttl if is_ttl else scale.movies, generator)
    if task:
        model.add_output(task, np.ones(labels), generator)
    return model.to(device)


def works(scale: Scale, device: str) -> Iterator[tuple[str, int, Call]]:
    """Yield each kind of step with its number of steps and a call that takes them."""
    paper = study_config("ttl", "paper")
    for name, length in (("ttl", 100), ("ml", 30)):
        items, labels = (
            (scale.ttl, scale.ttl_labels) if length == 100 else (scale.movies, scale.movie_labels)
        )
        first = replace(paper.training("T1"), batch_size=scale.first_batch, epochs=1 << 30)
        later = replace(paper.training("T2"), batch_size=scale.batch, epochs=1 << 30)
        stream = random_stream(scale.first_batch * scale.steps, length, items, 2)
        model = paper_model(scale, length, "T1", items, device)
        everything = dict.fromkeys(dict(model.named_parameters()))
        yield (
            f"{name} T1, sampled softmax over {items:,} items, batch {scale.first_batch}",
            scale.steps,
            trainer(model, stream, stream["T1"], first, everything),
        )
        stream = random_stream(scale.batch * scale.steps, length, items, labels)
        learner = ContinualModel(paper_model(scale, length, "", 0, "cpu"))
        own_untrained(learner, {"T1": (2, 0.7)})
        learner.start("T2", np.ones(labels), torch.Generator().manual_seed(0))
        learner.to(device)
        yield (
            f"{name} T2 on free weights, BPR, batch {scale.batch}",
            scale.steps,
            trainer(learner.model, stream, stream["T2"], later, learner.trainable()),
        )
        tested = random_stream(scale.batch, length, items, labels, part=TEST)
        model = learner.model.requires_grad_(False)
        call = lambda m=model, s=tested: evaluate(m, s, s["T2"], TEST)  # noqa: E731
        yield f"{name} T2 evaluation of {scale.batch} users", 1, call


def measure_steps(scale: Scale, device: str) -> dict:
    """Measure every kind of step: time, rate, memory, launches, and whether the host waits."""
    peaks, rows, ok = {p: peak_tflops(p, scale, device) for p in ("ieee", "tf32")}, [], True
    for name, steps, call in works(scale, device):
        row = {"step": name}
        with repeatable(device):
            call()  # plans, pinned memory and the optimisers' state come with the first steps
            with waits_of_steps(device) as waits:
                call()
            said = [str(one.message)[:200] for one in waits]
            row["host_waits"] = [one for one in said if "prototype feature" not in one]
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            row["ms"] = timed(call, device) / steps * 1000
            with batches_by(lambda batches, *_: batches[:1]):  # to look at each operator is slow
                with FlopCounterMode(display=False, custom_mapping=PRODUCTS) as counter:
                    call()
                row["launches"] = launches(call, device)
        if device == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        tflops = counter.get_total_flops() / 1e12
        row["share_of_fp32_peak"] = tflops / (row["ms"] / 1000) / peaks["ieee"]
        with precision("tf32", device):
            row["tf32_ms"] = timed(call, device) / steps * 1000
        row["share_of_tf32_peak"] = tflops / (row["tf32_ms"] / 1000) / peaks["tf32"]
        ok &= not row["host_waits"]
        rows.append(row)
    return {"ok": ok, "measured_peak_tflops": peaks, "rows": rows}


@contextlib.contextmanager
def batches_by(function: Callable) -> Iterator[None]:
    """Let training take its batches by another function than ``loop.with_bar`` for a while."""
    original = loop.with_bar
    loop.with_bar = function
    try:
        yield
    finally:
        loop.with_bar = original


@contextlib.contextmanager
def waits_of_steps(device: str) -> Iterator[list[warnings.WarningMessage]]:
    """Give a list that fills with what PyTorch says where the host waits within training steps."""

    def watched(batches: Iterable, *_: object) -> Iterator:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield from batches
        finally:
            torch.cuda.set_sync_debug_mode("default")

    by = batches_by(watched if device == "cuda" else loop.with_bar)
    with by, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield said


@contextlib.contextmanager
def precision(name: str, device: str) -> Iterator[None]:
    """Set the precision of fp32 products on CUDA for a while."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = name
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def timed(call: Call, device: str) -> float:
    """Return the median seconds of a call, with all that it queued; one before warms up."""
    spent = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - started)
    return statistics.median(spent[1:])


def launches(call: Call, device: str) -> int:
    """Count the kernels that a call launches, on the CPU its operators."""
    also = {ProfilerActivity.CUDA} if device == "cuda" else set()
    with profile(activities={ProfilerActivity.CPU} | also) as found:
        call()
    begin = ("cudaLaunchKernel", "cuLaunchKernel") if device == "cuda" else ("aten::",)
    return sum(row.count for row in found.key_averages() if row.key.startswith(begin))


def peak_tflops(name: str, scale: Scale, device: str) -> float:
    """Measure a large product of matrices: what this device reaches, not what is printed on it."""
    n = DENSE_MATRIX if scale.width == 256 and device == "cuda" else 512
    x = torch.randn(n, n, device=device)
    with precision(name, device):
        return 2 * n**3 / timed(lambda: x @ x, device) / 1e12


def measure_epoch(scale: Scale, device: str) -> dict:
    """Measure T1's steps on a stream of ML-25M's size for a while; extrapolate to an epoch."""
    stream = random_stream(scale.epoch, 30, scale.movies, 2)
    model = paper_model(scale, 30, "T1", scale.movies, device)
    config = replace(study_config("ml-25m", "paper").training("T1"), batch_size=scale.first_batch)
    everything = dict.fromkeys(dict(model.named_parameters()))
    call = trainer(model, stream, stream["T1"], config, everything)
    done, spent = [], []

    def some(batches: list, *_: object) -> Iterator:
        started = time.perf_counter()
        for batch in batches:
            yield batch
            done.append(1)
            if len(done) % 50 == 0 and device == "cuda":
                torch.cuda.synchronize()  # else the queue runs ahead of the clock
            if time.perf_counter() - started > scale.seconds:
                break
        spent.append(time.perf_counter() - started)

    with batches_by(some), repeatable(device):
        call()
    steps = -(-scale.epoch // scale.first_batch)
    epoch = spent[0] / len(done) * steps
    found = {"steps": steps, "measured_steps": len(done), "measured_s": spent[0]}
    return {"ok": True, **found, "epoch_s": epoch, "extrapolated": len(done) < steps}


def measure_precisions(scale: Scale, device: str) -> dict:
    """Time the network's forward and backward pass of a batch in fp32, TF32 and all in bfloat16."""
    rows = {}
    for length in (100, 30):
        model = paper_model(scale, length, "", 0, device)
        items = torch.randint(1, scale.movies, (scale.batch, length), device=device)

        def step(hidden: Callable) -> None:
            hidden(items).square().mean().backward()  # noqa: B023

        found = {}
        for name, kind in (("ieee", None), ("tf32", None), ("bfloat16", torch.bfloat16)):
            one = model.to(kind) if kind else model
            with precision("ieee" if kind else name, device):
                found[f"{name}_ms"] = 1000 * timed(lambda m=one: step(m.hidden), device)
            one.zero_grad(set_to_none=True)
        rows[f"{len(model.config.dilations)} blocks, length {length}, batch {scale.batch}"] = found
    return {"ok": True, "rows": rows}


def measure_graphs(scale: Scale, device: str) -> dict:
    """Time the forward and backward pass of a narrow network, bound by launches, in three ways."""
    generator, rows = torch.Generator().manual_seed(0), {}
    width = min(64, scale.width)
    model = NextItNet(ModelConfig(width, (1, 4) * 2), scale.movies, generator).to(device)
    items = torch.randint(1, scale.movies, (scale.first_batch, 30), device=device)

    def step(hidden: Callable = model.hidden) -> None:
        model.zero_grad(set_to_none=False)
        hidden(items).square().mean().backward()

    rows["eager_ms"] = 1000 * timed(step, device)
    for name, build in {"compiled": compiled, "graph": graph}.items() if device == "cuda" else ():
        try:
            rows[f"{name}_ms"] = 1000 * timed(build(model, step), device)
        except Exception as error:  # a measurement only: what fails is said
            said = str(error).partition("\n")[0]  # further lines name this machine's folders
            rows[f"{name}_error"] = f"{type(error).__name__}: {said}"[:300]
    return {"ok": True, "width": width, **rows}


def compiled(model: NextItNet, step: Callable) -> Call:
    """Return the step by torch.compile."""
    hidden = torch.compile(model.hidden)
    return lambda: step(hidden)


def graph(_: NextItNet, step: Callable) -> Call:
    """Return the replay of the step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    return captured.replay


SECTIONS: dict[str, Callable[[Scale, str], dict]] = {
    "no forgetting, the same bytes twice": check_bytes,
    "CPU against this device": check_against_cpu,
    "steps": measure_steps,
    "precisions": measure_precisions,
    "epoch of T1, ML-25M": measure_epoch,
    "tests": check_tests,
    "graphs": measure_graphs,
}


def run(scale: Scale, device: str, file: Path, budget: float = BUDGET) -> bool:
    """Run every section, write what it found at once, and return whether all is well."""
    started, result = time.perf_counter(), {"environment": environment(device), "device": device}
    result |= {"toy": scale == TOY, "sections": {}}
    for name, section in SECTIONS.items():
        begun = time.perf_counter()
        if begun - started > budget:
            found = {"ok": False, "error": "no time was left"}
        else:
            try:
                found = section(scale, device)
            except Exception as error:  # the other sections are still worth their time
                found = {"ok": False, "error": f"{type(error).__name__}: {error}"[:1000]}
        found["seconds"] = round(time.perf_counter() - begun, 1)
        result["sections"][name] = found
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {'ok' if found['ok'] else 'FAILED'}, {found['seconds']} s", flush=True)
    return all(found["ok"] for found in result["sections"].values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--toy", action="store_true", help="toy sizes: a check that all runs")
    parser.add_argument("--publish", action="store_true", help="replace the committed measurement")
    options = parser.parse_args()
    local = options.toy or options.device == "cpu" or not options.publish
    file = paths.benchmarks(local=local) / "gpu.json"
    well = run(TOY if options.toy else Scale(), options.device, file)
    print(f"written to {file}")
    sys.exit(0 if well else 1)
