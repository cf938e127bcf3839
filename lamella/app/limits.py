"""What the system lets a server have: enough files for its connections, few heaps."""

from __future__ import annotations

import ctypes
import resource
import sys

OPEN_FILES = 65_536
HEAPS = 2
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
    """Let the threads of this process share two heaps of the C library.

    By default each of up to eight threads a core has a heap of its own, and what one thread frees
    another cannot use: 8 MB more a process after a quarter of an hour of mixed load. Threads hold
    Python's lock while they allocate, so they hardly wait for each other. Call it before there are
    threads; elsewhere than on glibc it does nothing.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_ARENA_MAX, HEAPS)
