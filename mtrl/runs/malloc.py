"""The learner's memory: freed blocks stay in the process."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt
_LARGEST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library reuse large freed blocks instead of giving them back to the system.

    An update allocates the task gradients (`m` times the trunk) and its activations anew. glibc maps
    blocks of more than 32 MB at each allocation and returns what is freed at the end of the heap, so
    each page is faulted in and zeroed again at every update: most of what task gradients cost beyond
    the plain sum. The process keeps its largest size in return. For processes on Linux that learn
    on the CPU; to be called once, by whoever owns the process.

    Returns:
        Whether the C library has these settings and took them.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _LARGEST))
