"""What tests of several folders share: services that take long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.s3_server import S3Server, run_s3_server
from tests.harness.stack import read_stack, stop_servers


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about SQLite's files and pack folders where the stack is another."""
    if not read_stack():
        return
    left_out = [item for item in items if item.get_closest_marker("embedded")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_sessionfinish() -> None:
    """Stop the servers that the tests' servers stand on."""
    stop_servers()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with run_s3_server() as server:
        yield server
