"""What tests of several folders share: services that take long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.s3_server import S3Server, run_s3_server
from tests.harness.stack import REDIS, read_stack, stop_servers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about SQLite's files, pack folders or in-process jobs on other stacks."""
    stack = read_stack()
    marks = {"embedded"} if stack else set()
    if REDIS in stack:
        marks.add("in_process")
    left_out = [item for item in items if any(map(item.get_closest_marker, marks))]
    if not left_out:
        return
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish() -> None:
    """Stop the servers that the tests' servers stand on."""
    stop_servers()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with run_s3_server() as server:
        yield server
