"""One run of the suite: samples in, checks, samples out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lamella.conformance.check import Check, Level
from lamella.conformance.client import ServerUnreachable
from lamella.conformance.exchange import Reply
from lamella.conformance.multipart import wrap
from lamella.conformance.outcomes import CheckFailed, NotOffered, NotRun, Verdict
from lamella.conformance.probe import SERIES_UID, SOP_UID, STUDY_UID, Probe, Specimen
from lamella.conformance.samples import Sample

_ROWS = "00280010"
_LOOKED_AT = 20
"""Studies of a read-only run that are searched for an instance with pixels."""


@dataclass(frozen=True)
class Result:
    """What became of one check.

    Attributes:
        sentence: Why it did not pass; '' if it did.
        reply: The exchange that shows a failure.
        trail: All exchanges it looked at.
    """

    check: Check
    verdict: Verdict
    sentence: str = ""
    expected: str = ""
    got: str = ""
    reply: Reply | None = field(default=None, repr=False)
    trail: tuple[Reply, ...] = field(default=(), repr=False)


@dataclass
class Record:
    """The outcome of a whole run.

    Attributes:
        left_studies: Study UIDs of samples that are still on the server.
        patient_ids: The patients of this run.
    """

    root: str
    is_read_only: bool
    results: list[Result] = field(default_factory=list)
    left_studies: list[str] = field(default_factory=list)
    patient_ids: str = ""

    def count(self, verdict: Verdict, level: Level | None = None) -> int:
        """Return how many checks ended so, at one level or at all."""
        return sum(
            result.verdict is verdict and level in (None, result.check.level)
            for result in self.results
        )

    @property
    def is_conformant(self) -> bool:
        """Whether nothing failed that the standard demands."""
        return self.count(Verdict.FAILED, Level.SHALL) == 0


def run_campaign(
    probe: Probe,
    checks: Iterable[Check],
    *,
    keep: bool = False,
    watch: Callable[[Result], None] | None = None,
) -> Record:
    """Run checks against a server.

    Args:
        probe: The server.
        checks: In this order.
        keep: Whether the samples stay on the server.
        watch: Is told each result as it comes.

    Raises:
        ServerUnreachable: The server does not answer at all.
    """
    record = Record(probe.root, probe.is_read_only)
    if probe.run is not None:
        record.patient_ids = probe.run.patient_id(0).removesuffix("0") + "*"
    with _samples_on(probe, record, keep):
        for check in checks:
            result = run_check(probe, check)
            record.results.append(result)
            if watch is not None:
                watch(result)
    return record


def run_check(probe: Probe, check: Check) -> Result:
    """Run one check."""
    probe.trail = []
    try:
        check.run(probe)
    except CheckFailed as error:
        reply = error.reply or (probe.trail[-1] if probe.trail else None)
        return Result(
            check,
            Verdict.FAILED,
            error.detail,
            error.expected,
            error.got,
            reply,
            tuple(probe.trail),
        )
    except NotOffered as error:
        return Result(check, Verdict.NOT_OFFERED, error.detail, trail=tuple(probe.trail))
    except NotRun as error:
        return Result(check, Verdict.NOT_RUN, error.detail, trail=tuple(probe.trail))
    except ServerUnreachable as error:
        return _fail(probe, check, "an answer", error.detail)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # What a server sends may be of any shape; where a check trips over it, it is wrong.
        got = f"what cannot be read ({type(error).__name__}: {error})"
        return _fail(probe, check, "an answer of the right form", got)
    return Result(check, Verdict.PASSED, trail=tuple(probe.trail))


def _fail(probe: Probe, check: Check, expected: str, got: str) -> Result:
    reply = probe.trail[-1] if probe.trail else None
    sentence = f"Expected {expected}; got {got}."
    return Result(check, Verdict.FAILED, sentence, expected, got, reply, tuple(probe.trail))


@contextmanager
def _samples_on(probe: Probe, record: Record, keep: bool) -> Iterator[None]:
    """Put the samples on the server for the time of a block."""
    probe.get("/studies", "limit=1", fresh=True)
    try:
        if probe.run is not None:
            _store_samples(probe)
        probe.found_specimen = _choose_specimen(probe)
        yield
    finally:
        record.left_studies = list(probe.studies) if keep else _remove_studies(probe)


def _store_samples(probe: Probe) -> None:
    """Store the samples, a request a study: a server that refuses one still has the others."""
    by_study: dict[str, list[Sample]] = {}
    for sample in probe.samples.by_name.values():
        by_study.setdefault(sample.study, []).append(sample)
    for samples in by_study.values():
        reply = probe.store([wrap(s.file) for s in samples], [samples[0].study_uid])
        if reply.status in (200, 202):
            probe.stored |= {sample.name for sample in samples if _is_there(probe, sample)}


def _is_there(probe: Probe, sample: Sample) -> bool:
    return probe.get(f"{sample.path}/metadata").status == 200


def _choose_specimen(probe: Probe) -> Specimen | None:
    if "ct1" in probe.stored:
        ct = probe.samples["ct1"]
        return Specimen(ct.study_uid, ct.series_uid, ct.sop_uid)
    try:
        for study in probe.search("/studies", f"limit={_LOOKED_AT}"):
            specimen = _look_into(probe, str(study[STUDY_UID]["Value"][0]))
            if specimen is not None:
                return specimen
    except (CheckFailed, LookupError, TypeError):
        return None  # what is wrong with searches, the checks of searches say
    return None


def _look_into(probe: Probe, study_uid: str) -> Specimen | None:
    for series in probe.search(f"/studies/{study_uid}/series"):
        series_uid = str(series[SERIES_UID]["Value"][0])
        path = f"/studies/{study_uid}/series/{series_uid}/instances"
        for instance in probe.search(path, "limit=1"):
            sop_uid = str(instance[SOP_UID]["Value"][0])
            reply = probe.get(f"{path}/{sop_uid}/metadata")
            if reply.status == 200 and isinstance(reply.json, list) and _ROWS in reply.json[0]:
                return Specimen(study_uid, series_uid, sop_uid, reply.json[0])
    return None


def _remove_studies(probe: Probe) -> list[str]:
    """Delete what this run stored, and nothing else; return what the server would not delete."""
    left = []
    for study_uid in probe.studies:
        try:
            status = probe.send("DELETE", f"/studies/{study_uid}").status
        except ServerUnreachable:
            status = 0
        if status not in (200, 202, 204, 404, 410):
            left.append(study_uid)
    return left
