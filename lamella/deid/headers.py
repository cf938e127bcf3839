"""One data set without identifiers: every element at every depth, by the profile's plan.

Source:
    PS3.15 Annex E.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from pydicom import FileDataset

from lamella.deid.codes import Code
from lamella.deid.identifiers import Identifiers, collect
from lamella.deid.keys import ProjectKey
from lamella.deid.lenient import lenient
from lamella.deid.marks import mark
from lamella.deid.plans import make_plan
from lamella.deid.profiles import Profile
from lamella.deid.results import Cleaned, Reason, Verdict
from lamella.deid.subjects import read_subject, read_text
from lamella.deid.suspects import find_reasons
from lamella.deid.texts import TextFinder, find_engine
from lamella.deid.walk import Walk, inherit_encoding


def clean(
    attributes: FileDataset,
    profile: Profile,
    key: ProjectKey,
    *,
    finder: TextFinder | None = None,
    identifiers: Identifiers | None = None,
    applied: Sequence[Code] = (),
    reasons: Sequence[Reason] = (),
    is_derived: bool = False,
) -> Cleaned:
    """Return a data set without its identifiers, and what was done to it.

    Args:
        attributes: As it was read, with its file meta; it is not changed. Its pixel data, if
            they are in it, are passed on as they are.
        profile: What to do.
        key: What makes new UIDs, pseudonyms and shifts.
        finder: The profile's engine, when the caller has it at hand (`texts.find_engine`).
        identifiers: The data set's, when the caller has them at hand (`identifiers.collect`).
        applied: Codes of what was done before, such as cleaning the pixels.
        reasons: Found before, which go into the verdict.
        is_derived: Whether pixels were changed before: then the instance gets a new SOP Instance
            UID even where the profile retains UIDs.

    Raises:
        InvalidRequest: The profile names what there is not, or is not installed.

    Source:
        PS3.15 §E.1.1; PS3.3 §C.7.6.1.1.2 (a derived image has a UID of its own).
    """
    plan = make_plan(profile)
    known = collect(attributes, profile) if identifiers is None else identifiers
    subject = read_subject(attributes, key, profile.shift_limit_days)
    sop_class_uid = read_text(attributes, "SOPClassUID")
    engine = find_engine(profile) if finder is None else finder
    with lenient():
        walk = Walk(plan, subject, known, engine, sop_class_uid, is_derived=is_derived)
        content = walk.clean(attributes)
        result = FileDataset(
            io.BytesIO(),
            content,
            file_meta=attributes.file_meta,
            is_implicit_VR=bool(attributes.original_encoding[0]),
            is_little_endian=attributes.original_encoding[1] is not False,
        )
        inherit_encoding(attributes, result)
        codes = mark(result, plan, applied)
    found = (*reasons, *find_reasons(attributes, sop_class_uid), *walk.reasons)
    return Cleaned(
        attributes=result,
        changes=tuple(walk.changes),
        verdict=Verdict.worst(*(reason.verdict for reason in found)),
        reasons=found,
        codes=codes,
        uids=subject.uids,
        kept_uids=frozenset(subject.kept_uids),
        patients=subject.patients,
        identifiers=known,
    )
