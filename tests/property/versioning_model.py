"""What the versioning engine should do, as a plain dict does it; and the files to try it with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lamella.vcs.tree import InstanceKey
from tests.harness.samples import make_instance

N_INSTANCES = 9


@dataclass(frozen=True)
class Sample:
    """One file: which instance, where it claims to be, and what is in it.

    At home instance n is in study n % 3, series n % 2, of a patient per study. The encoding does
    not make it another instance: a store of the same in another encoding changes nothing.
    """

    number: int
    study: int
    series: int
    patient: int
    header: int = 0
    fill: int = 0
    is_implicit: bool = False

    @property
    def key(self) -> InstanceKey:
        """(Study, Series, SOP) Instance UID."""
        series_uid = f"1.2.{self.study}.{self.series}"
        return f"1.2.{self.study}", series_uid, f"1.2.9.{self.number}"

    @property
    def content(self) -> Sample:
        """What must be equal for two files to be the same instance."""
        return replace(self, is_implicit=False)


Content = dict[str, Sample]  # SOP Instance UID → what is stored


@cache
def make_file(sample: Sample) -> bytes:
    """Return the Part 10 file of a sample."""
    study_uid, series_uid, sop_uid = sample.key
    return make_instance(
        study_uid,
        series_uid,
        sop_uid,
        patient_id=f"P{sample.patient}",
        fill=sample.fill,
        rows=2,
        columns=2,
        transfer_syntax=ImplicitVRLittleEndian if sample.is_implicit else ExplicitVRLittleEndian,
        SeriesNumber=sample.series,
        InstanceNumber=sample.number,
        SeriesDescription=f"header {sample.header}",
    )


def send_home(number: int, header: int, is_implicit: bool) -> Sample:
    """Return a file of an instance where it belongs."""
    study = number % 3
    return Sample(number, study, number % 2, study, header, 0, is_implicit)


numbers = st.integers(0, N_INSTANCES - 1)
at_home = st.builds(send_home, numbers, st.integers(0, 2), st.booleans())
astray = st.one_of(
    st.builds(lambda s: replace(s, fill=1), at_home),
    st.builds(lambda s, study: replace(s, study=study), at_home, st.integers(0, 3)),
    st.builds(lambda s, series: replace(s, series=series), at_home, st.integers(0, 2)),
    st.builds(lambda s, patient: replace(s, patient=patient), at_home, st.integers(0, 3)),
)
anything = st.one_of(at_home, at_home, astray)
batches = st.lists(anything, min_size=1, max_size=5)
picks = st.integers(0, 1_000)


class Model:
    """What one branch should hold once a session has been applied to it."""

    def __init__(self, content: Content) -> None:
        self.content = dict(content)
        self.conflicts: list[Sample] = []

    def store(self, incoming: Sample) -> str:
        """Apply one store; return the verdict."""
        sop_uid = incoming.key[2]
        known = self.content.get(sop_uid)
        verdict = self._judge(known, incoming)
        if verdict == "conflict":
            self.conflicts.append(incoming)
        elif verdict != "unchanged":
            self.content[sop_uid] = incoming
        return verdict

    def delete(self, key: InstanceKey) -> str:
        """Remove an instance if it is there."""
        known = self.content.get(key[2])
        if known is None or known.key != key:
            return "unchanged"
        del self.content[key[2]]
        return "deleted"

    def _judge(self, known: Sample | None, incoming: Sample) -> str:
        if known is None:
            patients = {s.patient for s in self.content.values() if s.study == incoming.study}
            return "conflict" if patients - {incoming.patient} else "stored"
        if known.content == incoming.content:
            return "unchanged"
        same_place = known.key == incoming.key
        same_values = (known.patient, known.fill) == (incoming.patient, incoming.fill)
        return "version" if same_place and same_values else "conflict"
