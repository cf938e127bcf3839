"""Logging what went wrong unexpectedly: where and what kind, never the values it was about.

Messages of foreign exceptions can carry what was being handled (a database's names the row).
"""

from __future__ import annotations

import logging
import traceback


def log_failure(logger: logging.Logger, event: str, error: BaseException) -> None:
    """Log an unexpected exception by its kind and its place.

    Args:
        logger: Of the module that caught it.
        event: What could not be done; UIDs and AE titles may be in it, patient values not.
        error: What was caught.
    """
    frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
    logger.error("%s: %s\n%s", event, type(error).__name__, frames)
