"""What tests of several folders share: services that take long to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.s3_server import S3Server, run_s3_server
from tests.harness.stack import stop_servers


def pytest_sessionfinish() -> None:
    """Stop the servers that the tests' servers stand on."""
    stop_servers()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with run_s3_server() as server:
        yield server
