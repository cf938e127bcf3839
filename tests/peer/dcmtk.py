"""DCMTK's command line tools as peers: found on the path, run without blocking the loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Finished:
    """How a tool ended."""

    exit_status: int
    output: str


def find_tool(name: str) -> str:
    """Return the path of a tool; skip the test without it, but fail it where CI must have it."""
    ours = Path(sys.executable).parent  # pynetdicom's scripts of the same names are there
    folders = [f for f in os.environ.get("PATH", "").split(os.pathsep) if Path(f) != ours]
    path = shutil.which(name, path=os.pathsep.join(folders))
    if path is None and os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"CI must have DCMTK's {name}.")
    if path is None:
        pytest.skip(f"DCMTK's {name} is not installed.")
    return path


async def run_tool(name: str, *arguments: str) -> Finished:
    """Run a tool to its end."""
    process = await asyncio.create_subprocess_exec(
        find_tool(name),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return Finished(process.returncode, output.decode(errors="replace"))
