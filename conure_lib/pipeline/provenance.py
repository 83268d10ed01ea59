"""Where a result comes from: commit, versions, machine."""

import datetime
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch


def environment() -> dict:
    """Where something is computed: commit, versions, machine; no part of any id."""
    packages = ("torch", "numpy", "pandas", "scipy", "safetensors")
    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "dirty": bool(_git("status", "--porcelain", "--", "conure_lib")),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in packages},
        "machine": platform.machine(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _git(*args: str) -> str | None:
    try:
        command = ["git", "-C", str(Path(__file__).parent.parent), *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
