"""Reading values that break their VR's rules, as real files do, without a word about them.

pydicom's warnings quote values; a log must not.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.config import disable_value_validation

UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    EOFError,
    struct.error,
)
"""What pydicom raises when it cannot make sense of an element's bytes."""


@contextmanager
def lenient() -> Iterator[None]:
    """Take values as they are, in this process, as long as it lasts."""
    with warnings.catch_warnings(), disable_value_validation():
        warnings.simplefilter("ignore")
        yield
