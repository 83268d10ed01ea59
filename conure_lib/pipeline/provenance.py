"""Where a result comes from: the code's commit, versions, the processor and its kind."""

import datetime
import os
import platform
import subprocess
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from conure_lib import paths

PACKAGES = ("torch", "numpy", "pandas", "pyarrow", "scipy", "safetensors")
LIMITS = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA")
"""Environment variables that choose another code path in PyTorch, MKL and oneDNN, hence other bits."""
NOT_RECORDED = "not recorded"


def environment(device: str = "cpu") -> dict[str, Any]:
    """Describe where something is computed: commit, versions, processor, time; no part of any id.

    ``dirty`` is whether the library differs from that commit, None where the commit is unknown.
    """
    commit = _git("rev-parse", "HEAD")
    return {
        "commit": commit or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", "conure_lib")) if commit else None,
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "processor": processor(device),
        "cores": os.cpu_count(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def processor(device: str = "cpu") -> dict[str, Any]:
    """Describe what decides the last bits of a result: equal bits are expected only where this is equal."""
    about = _cpu() | {"capability": torch.backends.cpu.get_cpu_capability()}
    limits = {name: os.environ[name] for name in LIMITS if os.environ.get(name)}
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return about | gpu | {"limits": limits}


def kind(environment: dict[str, Any]) -> str:
    """Return the kind of processor of a result's environment in a few words, for comparison and messages."""
    about = environment["processor"]
    cpu = f"{about['vendor']} {about['family']}/{about['model']} {about['capability']}"
    limits = (f"{name}={value}" for name, value in sorted(about["limits"].items()))
    return " ".join(
        [cpu.replace(f" {NOT_RECORDED}/{NOT_RECORDED}", ""), about.get("gpu", ""), *limits]
    ).strip()


def kind_here(device: str = "cpu") -> str:
    """Return the kind of processor of this process."""
    return kind({"processor": processor(device)})


@lru_cache(maxsize=1)
def _cpu() -> dict[str, str]:
    """Read vendor, family, model and name of the processor (on Arm: implementer, architecture, part)."""
    found = {}
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().partition("\n\n")[0].splitlines() if cpuinfo.exists() else ():
        key, _, value = line.partition(":")
        found[key.strip()] = value.strip()
    keys = {
        "vendor": ("vendor_id", "CPU implementer"),
        "family": ("cpu family", "CPU architecture"),
        "model": ("model", "CPU part"),
        "name": ("model name",),
    }
    about = {
        what: next(
            (found[name] for name in names if name in found), platform.processor() or "unknown"
        )
        for what, names in keys.items()
    }
    return about | {"machine": platform.machine()}


def _git(*arguments: str) -> str | None:
    """Ask git about this project's own checkout; None elsewhere, inside another project's checkout too."""
    if paths.CHECKOUT is None or not (paths.CHECKOUT / ".git").exists():
        return None
    try:
        command = ["git", "-C", str(paths.CHECKOUT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
