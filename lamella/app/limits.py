"""What the system lets a server have, made enough for the connections that it takes."""

from __future__ import annotations

import resource

OPEN_FILES = 65_536


def raise_open_files() -> None:
    """Let this process and its workers open as many files as the system allows, within reason.

    Many systems begin with 1,024, and a connection is a file.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
