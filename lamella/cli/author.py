"""Who runs a command, as commits name them."""

from __future__ import annotations

import os
import pwd


def name_author() -> str:
    """Return who runs the command, as the system knows them."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
