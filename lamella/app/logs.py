"""Structured logs: one JSON object a line on stderr, with no patient data in it.

What is logged are verbs, UIDs of refs, statuses and counts; queries, headers of requests and
values of attributes are not. SQL errors hide their parameters (see `archive.database`).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record, its `extra` fields included."""
        fields = {
            "time": _format_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: v for name, v in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(fields, enc_hook=str).decode()
        except UnicodeEncodeError:  # the name of a file that is no UTF-8
            return json.dumps(fields, default=str)


def _format_time(time_s: float) -> str:
    second = int(time_s)
    return f"{_format_second(second)}.{int((time_s - second) * 1000):03d}Z"


@lru_cache(maxsize=1)
def _format_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def set_up_logs(level: str) -> None:
    """Send all logs to stderr as JSON, ours from `level` on, libraries' from warning on."""
    # What nobody writes need not be found out for each record: caller, thread, process.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # as the manual of `logging` advises
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("lamella").setLevel(level.upper())
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs values of data sets
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
