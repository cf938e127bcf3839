"""The log of the unexpected names no values."""

from __future__ import annotations

import logging

import pytest

from lamella.dimse_gateway.failures import log_failure


def test_place_and_kind_are_logged_and_the_message_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise RuntimeError("^".join(["Doe", "Jane"]))
    except RuntimeError as error:
        log_failure(logging.getLogger("lamella.test"), "Instance 1.2.3 was lost", error)
    assert "Instance 1.2.3 was lost: RuntimeError" in caplog.text
    assert "test_place_and_kind" in caplog.text
    assert "Doe^Jane" not in caplog.text
