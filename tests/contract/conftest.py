"""What the contracts share: an archive that clients of all kinds read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.client_data import Archive, run_archive


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with run_archive(tmp_path_factory.mktemp("clients")) as running:
        yield running
