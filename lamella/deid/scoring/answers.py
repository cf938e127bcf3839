"""Answer keys: SQLite files with one row an instance, and a JSON document of its checks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from lamella.errors import InvalidRequest, NotFound

Action = Literal[
    "tag_retained",
    "text_notnull",
    "text_retained",
    "text_removed",
    "date_shifted",
    "uid_changed",
    "uid_consistent",
    "patid_consistent",
    "pixels_hidden",
    "pixels_retained",
]
ACTIONS: tuple[Action, ...] = get_args(Action)
RETAINING: frozenset[Action] = frozenset(
    {"tag_retained", "text_notnull", "text_retained", "pixels_retained"}
)
"""Actions whose failure is over-redaction."""
_COLUMNS = (
    "SOPInstanceUID, SeriesInstanceUID, StudyInstanceUID, PatientID, Modality, SOPClassUID, "
    "AnswerData"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to hold of an instance.

    Attributes:
        path: Where, as `tag_ds` has it (`lamella.deid.scoring.elements`).
        value: What was there.
        action: What had to be done.
        text: What it was to be done to, or with.
        category: A name to count by.
        anywhere: Whether `text` must be nowhere in the instance's values, not here alone.
    """

    path: str
    value: str
    action: Action
    text: str
    category: str
    anywhere: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """All checks of one original instance."""

    sop_uid: str
    series_uid: str
    study_uid: str
    patient_id: str
    modality: str
    sop_class_uid: str
    checks: tuple[Check, ...]


def read_answers(path: Path) -> Iterator[Answer]:
    """Yield the answers of a key in its order.

    Raises:
        NotFound: There is no such file.
        InvalidRequest: It is no answer key.
    """
    if not path.is_file():
        raise NotFound(f"There is no file {path}.")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        for row in connection.execute(f"SELECT {_COLUMNS} FROM answer_data"):
            sop, series, study, patient, modality, sop_class = map(_unwrap, row[:6])
            checks = tuple(_read_checks(row[6]))
            yield Answer(sop, series, study, patient, modality, sop_class, checks)
    except (sqlite3.DatabaseError, ValueError, KeyError, AttributeError) as error:
        raise InvalidRequest(f"{path} is no answer key ({type(error).__name__}).") from error
    finally:
        connection.close()


def _read_checks(document: str) -> Iterator[Check]:
    rows = json.loads(document)
    for row in rows.values() if isinstance(rows, dict) else rows:
        yield Check(
            path=str(row["tag_ds"]),
            value=_unwrap(row.get("value")),
            action=_read_action(_unwrap(row["action"])),
            text=_unwrap(row.get("action_text")),
            category=_name_category(row.get("answer_category_v2")),
            anywhere=bool(row.get("anywhere", False)),
        )


def _unwrap(value: object) -> str:
    """Return a value without the < and > that keys put around it."""
    text = "" if value is None else str(value)
    return text[1:-1] if text.startswith("<") and text.endswith(">") else text


def _read_action(name: str) -> Action:
    for action in ACTIONS:
        if action == name:
            return action
    raise ValueError(f"unknown action {name}")


def _name_category(category: Any) -> str:
    """Return one name of a category that may be text, a list, or flags by name."""
    if isinstance(category, Mapping):
        return "+".join(sorted(str(name) for name, is_set in category.items() if is_set)) or "none"
    if isinstance(category, list):
        return "+".join(map(str, category)) or "none"
    return str(category) if category else "none"
