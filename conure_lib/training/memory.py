"""Where a training's memory comes from."""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # as in malloc.h
KEPT, KEPT_BEFORE = 1 << 30, 1 << 25  # bytes that stay here; the most that glibc < 2.35 takes
AT_ONCE = 1 << 26  # bytes that it asks for


def reuse_memory() -> None:
    """Have this process keep the memory of tensors that are freed, for those of the next step.

    glibc gives large ones back to the system (in Dask's workers even small ones) and takes new
    pages for the next step, which the system has to clear: measured, a third of a training's time.
    Other systems are left as they are.
    """
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)):
        _ = mallopt(MMAP_THRESHOLD, KEPT) or mallopt(MMAP_THRESHOLD, KEPT_BEFORE)
        mallopt(TRIM_THRESHOLD, KEPT)
        mallopt(TOP_PAD, AT_ONCE)
