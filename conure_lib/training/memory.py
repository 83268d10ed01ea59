"""Where the memory of a training comes from."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # as in malloc.h
KEPT = 1 << 30  # bytes: blocks up to this size, and that much free memory, stay with the process
KEPT_AT_LEAST = 1 << 25  # the largest block that every glibc agrees to keep
AT_ONCE = 1 << 26  # bytes that are asked of the system at a time


def reuse_memory() -> None:
    """Have this process keep the memory of tensors that are freed, for those of the next step.

    glibc gives large ones back to the system, in Dask's workers even small ones, and takes new
    pages for the next step, which the system has to clear: measured in such a worker, a third of a
    training's time. Other systems are left as they are.
    """
    if sys.platform != "linux" or not (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        return
    if not mallopt(MMAP_THRESHOLD, KEPT):
        mallopt(MMAP_THRESHOLD, KEPT_AT_LEAST)
    mallopt(TRIM_THRESHOLD, KEPT)
    mallopt(TOP_PAD, AT_ONCE)
