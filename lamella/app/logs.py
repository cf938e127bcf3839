"""Structured logs: one JSON object a line on stderr, with no patient data in it.

What is logged are verbs, UIDs of refs, statuses and counts; queries, headers of requests and
values of attributes are not. SQL errors hide their parameters (see `archive.database`).
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line for a record, its `extra` fields included."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: v for name, v in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str, ensure_ascii=False)


def set_up_logs(level: str) -> None:
    """Send all logs to stderr as JSON, ours from `level` on, libraries' from warning on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("lamella").setLevel(level.upper())
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs values of data sets
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
