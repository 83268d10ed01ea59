"""A training's steps use the memory of the steps before."""

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, threading
import torch
from conure_lib.training.memory import reuse_memory

def new_pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [torch.ones(1 << 20) for _ in range(8)]  # 4 MiB each
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def steps():
    counts.append(sum([new_pages() for _ in range(20)][10:]))

if sys.argv[1] == "reuse":
    reuse_memory()
counts = []
steps()
worker = threading.Thread(target=steps)  # where Dask's workers compute
worker.start()
worker.join()
print(*counts)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator")
def test_memory_is_used_again():
    environment = os.environ | {"MALLOC_TRIM_THRESHOLD_": "65536"}  # Dask's, for its workers
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"):
        environment.pop(name, None)

    def steps(how):
        command = [sys.executable, "-c", STEPS, how]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return [int(count) for count in done.stdout.split()]

    for reused, left in zip(steps("reuse"), steps("leave"), strict=True):
        assert 10 * reused < left
