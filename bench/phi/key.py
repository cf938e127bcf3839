"""The answer key while it is written: checks of one instance, then the SQLite file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.tag import Tag


def name_tag(tag: int | str, at: str = "") -> str:
    """Return the path of an element, below an item's path."""
    number = Tag(tag)
    return f"{at}<({number.group:04x},{number.element:04x})>"


def name_private(group: int, creator: str, element: int) -> str:
    """Return the path of a private element."""
    return f'<({group:04x},"{creator.upper()}",{element:02x})>'


def name_item(path: str, which: int | str = 0) -> str:
    """Return the path of an item: by its index, or by code and scheme."""
    return f"{path}[<{which:04}>]" if isinstance(which, int) else f"{path}[<{which}>]"


@dataclass
class Answers:
    """The checks of one instance."""

    rows: list[dict[str, object]] = field(default_factory=list)

    def add(
        self,
        action: str,
        path: str,
        value: object,
        category: str,
        text: object = None,
        *,
        anywhere: bool = False,
    ) -> None:
        """Add a check; `text` is the value where it is left out."""
        self.rows.append(
            {
                "tag": path,
                "tag_ds": path,
                "tag_name": "",
                "value": f"<{value}>",
                "action": f"<{action}>",
                "action_text": f"<{value if text is None else text}>",
                "answer_category_v2": category,
                "anywhere": anywhere,
            }
        )


def write_key(path: Path, answered: Iterable[tuple[Dataset, Answers]]) -> None:
    """Write the file."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TABLE answer_data (SOPInstanceUID TEXT, SeriesInstanceUID TEXT, "
        "StudyInstanceUID TEXT, PatientID TEXT, Modality TEXT, SOPClassUID TEXT, AnswerData TEXT)"
    )
    keywords = "SOPInstanceUID SeriesInstanceUID StudyInstanceUID PatientID Modality SOPClassUID"
    connection.executemany(
        "INSERT INTO answer_data VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            (
                *(str(ds.get(keyword, "")) for keyword in keywords.split()),
                json.dumps({str(number): row for number, row in enumerate(answers.rows)}),
            )
            for ds, answers in answered
        ),
    )
    connection.commit()
    connection.close()
