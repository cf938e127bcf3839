"""PyTorch for tests: the environment's own, or Debian's, which has no CUDA."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

DEBIAN = Path("/usr/lib/python3/dist-packages")


def has_pytorch() -> bool:
    """Tell whether it can be imported, for which the search path may become longer."""
    is_debians = (DEBIAN / "torch").is_dir() and sys.version_info[:2] == (3, 11)
    if find_spec("torch") is None and is_debians and str(DEBIAN) not in sys.path:
        sys.path.append(str(DEBIAN))  # at the end: all else comes from the environment
    found = find_spec("torch") is not None
    assert found or not os.environ.get("CI"), "CI installs it"
    return found
