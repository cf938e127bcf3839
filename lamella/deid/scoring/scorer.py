"""The score of an output folder against an answer key."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.errors import InvalidDicomError

from lamella.deid.scoring.answers import RETAINING, Action, Answer, Check
from lamella.deid.scoring.elements import find_element, show_value
from lamella.deid.scoring.judges import PASSED, Output, judge
from lamella.deid.scoring.pixels import Reader
from lamella.deid.scoring.texts import measure_shift
from lamella.errors import InvalidRequest, NotFound

MISSING = "missing"
_MERGED = "shared with another"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one check ended; nothing in it is a patient's.

    Attributes:
        sop_uid: New SOP Instance UID; of a missing instance ''.
        number: Of the answer in its key, from 1.
        path: Where.
        why: '' where it passed.
    """

    number: int
    sop_uid: str
    modality: str
    path: str
    action: Action
    category: str
    why: str


@dataclass
class Tally:
    """Passed of all."""

    passed: int = 0
    total: int = 0

    @property
    def share(self) -> float:
        """1 where there was nothing to do."""
        return self.passed / self.total if self.total else 1.0


@dataclass
class Score:
    """The sum of a scoring.

    Attributes:
        instances: In the key.
        missing: Of them, in the key but not in the output.
        unexpected: Files of the output that no answer is about.
        outcomes: Of checks that failed.
    """

    instances: int = 0
    missing: int = 0
    unexpected: int = 0
    overall: Tally = field(default_factory=Tally)
    actions: dict[str, Tally] = field(default_factory=dict)
    categories: dict[str, Tally] = field(default_factory=dict)
    over_redaction: dict[str, Tally] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[Outcome] = field(default_factory=list)

    @property
    def missing_share(self) -> float:
        """Of the key's instances."""
        return self.missing / self.instances if self.instances else 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one check."""
        tallies = [
            self.overall,
            self.actions.setdefault(outcome.action, Tally()),
            self.categories.setdefault(outcome.category, Tally()),
        ]
        if outcome.action in RETAINING:
            tallies.append(self.over_redaction.setdefault(outcome.category, Tally()))
        for tally in tallies:
            tally.total += 1
            tally.passed += outcome.why == PASSED
        if outcome.why:
            self.reasons[f"{outcome.action}: {outcome.why}"] += 1
            self.failures.append(outcome)


def score(
    answers: Iterable[Answer],
    output: Path,
    uids: Mapping[str, str],
    patients: Mapping[str, str],
    *,
    reader: Reader | None = None,
    watch: Callable[[int], None] | None = None,
) -> Score:
    """Score an output.

    Args:
        answers: The key.
        output: A folder of Part 10 files, at any depth.
        uids: Old to new.
        patients: Old to new.
        reader: Reads text in regions that are not flat.
        watch: Told how many instances are done.

    Raises:
        NotFound: There is no such folder.
    """
    files = _index_files(output)
    wanted, result, shifts = set[str](), Score(), _Shifts()
    shared = _find_shared(uids) | _find_shared(patients)
    for number, answer in enumerate(answers, 1):
        result.instances += 1
        new_uid = uids.get(answer.sop_uid, "")
        path = files.get(new_uid)
        wanted.add(new_uid)
        if path is None:
            result.missing += 1
        for check, why, shift in _judge_answer(answer, path, uids, patients, reader):
            if not why and check.action.endswith("_consistent") and check.value in shared:
                why = _MERGED
            outcome = Outcome(
                number, new_uid if path else "", answer.modality, *_describe(check), why
            )
            if shift is None:
                result.add(outcome)
            else:
                shifts.add(answer.patient_id, shift, outcome)
        if watch is not None:
            watch(number)
    for outcome in shifts.settle():
        result.add(outcome)
    result.unexpected = sum(uid not in wanted for uid in files)
    return result


def read_map(path: Path) -> dict[str, str]:
    """Read a map with the columns id_old and id_new; of an id that comes twice, the first counts.

    Raises:
        NotFound: There is no such file.
        InvalidRequest: It has not these columns.
    """
    found: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["id_old"], row["id_new"])
    except FileNotFoundError:
        raise NotFound(f"There is no file {path}.") from None
    except (KeyError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path} is no map with the columns id_old and id_new.") from error
    return found


class _Shifts:
    """Dates that moved: those of a patient have to move alike."""

    def __init__(self) -> None:
        self._by_patient: dict[str, list[tuple[timedelta, Outcome]]] = {}

    def add(self, patient_id: str, shift: timedelta, outcome: Outcome) -> None:
        self._by_patient.setdefault(patient_id, []).append((shift, outcome))

    def settle(self) -> Iterator[Outcome]:
        """Yield the outcomes; those that moved unlike most of their patient's have failed."""
        for moved in self._by_patient.values():
            usual = Counter(shift for shift, _ in moved).most_common(1)[0][0]
            for shift, outcome in moved:
                yield outcome if shift == usual else _fail(outcome, "shifted unlike others")


def _judge_answer(
    answer: Answer,
    path: Path | None,
    uids: Mapping[str, str],
    patients: Mapping[str, str],
    reader: Reader | None,
) -> Iterator[tuple[Check, str, timedelta | None]]:
    """Yield each check, why it failed, and a date's shift."""
    output = None if path is None else Output(dcmread(path), uids, patients, reader)
    for check in answer.checks:
        if output is None:
            yield check, MISSING, None
            continue
        why = judge(output, check)
        shift = None
        if check.action == "date_shifted" and not why:
            new = show_value(find_element(output.attributes, check.path))
            shift = measure_shift(check.value, new)
        yield check, why, shift


def _index_files(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by SOP Instance UID."""
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        try:
            header: FileDataset = dcmread(path, specific_tags=["SOPInstanceUID"])
        except InvalidDicomError:
            continue
        found[str(header.get("SOPInstanceUID", ""))] = path
    return found


def _find_shared(mapping: Mapping[str, str]) -> set[str]:
    """Return the old ids whose new one another old one has, too."""
    counts = Counter(mapping.values())
    return {old for old, new in mapping.items() if counts[new] > 1}


def _describe(check: Check) -> tuple[str, Action, str]:
    return check.path, check.action, check.category


def _fail(outcome: Outcome, why: str) -> Outcome:
    return Outcome(
        outcome.number,
        outcome.sop_uid,
        outcome.modality,
        outcome.path,
        outcome.action,
        outcome.category,
        why,
    )
