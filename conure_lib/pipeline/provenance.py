"""Where a result comes from: the code's commit, versions, the processor and its kind."""

import datetime
import hashlib
import os
import platform
import subprocess
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from conure_lib import paths
from conure_lib.errors import ConfigError

PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "scipy", "safetensors")
LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
CPUINFO = {"vendor_id": "vendor", "cpu family": "family", "model": "model", "model name": "name"}
CPUINFO |= {"CPU implementer": "vendor", "CPU architecture": "family", "CPU part": "model"}  # Arm


def source() -> str:
    """Return the digest of the library's code as it lies here now."""
    files = sorted(Path(__file__).parent.parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


SOURCE = source()
"""That of the code that was imported: a process may have started before a change."""


def environment(device: str = "cpu") -> dict[str, Any]:
    """Describe where something is computed. ``dirty`` is None, never False, without a commit."""
    commit = _git("rev-parse", "HEAD")
    changed = source() != SOURCE or _git("status", "--porcelain", "--", "conure_lib") != ""
    return {
        "commit": commit or "unknown",
        "dirty": changed if commit else None,
        "source": SOURCE,
        "python": platform.python_version(),
        "packages": versions(),
        "processor": processor(device),
        "cores": os.cpu_count(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that numbers come from."""
    return {name: version(name) for name in PACKAGES}


def processor(device: str = "cpu") -> dict[str, Any]:
    """Describe the processor and the code paths that PyTorch, MKL and oneDNN take on it."""
    about = dict.fromkeys(CPUINFO.values(), platform.processor() or "unknown")
    file = Path("/proc/cpuinfo")
    text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    for line in text.partition("\n\n")[0].splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key in CPUINFO:
            about[CPUINFO[key]] = value
    about |= {"machine": platform.machine(), "capability": torch.backends.cpu.get_cpu_capability()}
    if device == "cuda":
        if not torch.cuda.is_available():
            raise ConfigError("device: found 'cuda', expected 'cpu': PyTorch sees no CUDA device")
        about["gpu"] = torch.cuda.get_device_name()
    return about | {"limits": {name: os.environ[name] for name in LIMITS if name in os.environ}}


def mixed(stages: Iterable[tuple[Any, dict[str, Any]]]) -> dict[str, str]:
    """Return kinds of processors with a stage's id each, if stages of one beginning have several.

    stages: with their environments. What has no ancestor in common may be of different kinds.
    """
    found = defaultdict[str, dict[str, str]](dict)
    for stage, about in stages:
        found[stage.lineage()[0].id][kind(about)] = stage.id
    return next((kinds for kinds in found.values() if len(kinds) > 1), {})


def kind(environment: dict[str, Any]) -> str:
    """Name an environment's kind of processor and versions: equal bits are expected within one."""
    about = environment["processor"]
    words = [about["vendor"], f"{about['family']}/{about['model']}", about["capability"]]
    words += [about["gpu"]] if "gpu" in about else []
    words += [f"{name} {environment['packages'][name]}" for name in ("torch", "numpy", "scipy")]
    return " ".join([*words, *(f"{name}={value}" for name, value in about["limits"].items())])


def kind_here(device: str = "cpu") -> str:
    """Name the kind of processor and versions of this process."""
    return kind({"processor": processor(device), "packages": versions()})


def is_known(commit: str) -> bool:
    """Return whether the branch that is checked out holds a commit."""
    return _git("merge-base", "--is-ancestor", commit, "HEAD") is not None


def _git(*arguments: str) -> str | None:
    """Ask git about this project's own checkout; None elsewhere, as in another project's."""
    if paths.CHECKOUT and (paths.CHECKOUT / ".git").exists():
        command = ["git", "-C", str(paths.CHECKOUT), *arguments]
        # a hook's GIT_DIR names another project's
        env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        options = {"env": env, "stderr": subprocess.DEVNULL, "encoding": "utf-8"}
        with suppress(OSError, subprocess.CalledProcessError):
            return subprocess.check_output(command, errors="replace", **options).strip()
    return None
