"""A project key's replacements: the same each time, others under another key, valid for DICOM."""

from __future__ import annotations

import pytest
from pydicom.uid import UID

from lamella.deid.keys import ProjectKey

KEY = ProjectKey("study-7", bytes(range(32)))
OTHER = ProjectKey("study-8", bytes(range(1, 33)))
IDS = [f"MRN{number:05}" for number in range(500)]


def test_replacements_are_of_the_key_and_of_the_value() -> None:
    uids = [f"1.2.3.{number}" for number in range(500)]
    new = [KEY.map_uid(uid) for uid in uids]
    assert new == [ProjectKey("another name", KEY.secret).map_uid(uid) for uid in uids]
    assert len({*new, *(OTHER.map_uid(uid) for uid in uids)}) == 1000
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in new)
    assert len({*map(KEY.map_patient_id, IDS), *map(OTHER.map_patient_id, IDS)}) == 1000


def test_the_golden_replacements_stay() -> None:
    # a commit made by an older version has to be made again to the byte
    assert KEY.map_uid("1.2.3") == "2.25.323208961630152073077901537594917788276"
    assert KEY.map_patient_id("MRN1", "HOSPITAL") == "PRATL7PCBZCVWP6CA"
    assert KEY.shift_days("MRN1", "HOSPITAL") == 4


def test_issuers_keep_patients_apart() -> None:
    assert KEY.map_patient_id("1", "A") != KEY.map_patient_id("1", "B")
    assert {KEY.shift_days("1", issuer) for issuer in "ABCDEFGH"} != {KEY.shift_days("1", "A")}


@pytest.mark.parametrize("limit_days", [1, 2, 30])
def test_dates_move_by_every_number_of_days_but_none(limit_days: int) -> None:
    shifts = {KEY.shift_days(patient_id, limit_days=limit_days) for patient_id in IDS}
    assert shifts == {*range(-limit_days, 0), *range(1, limit_days + 1)}


def test_a_short_secret_is_refused_and_none_is_shown() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        ProjectKey("weak", b"secret")
    assert "secret" not in repr(KEY)
    assert repr(KEY.secret) not in repr(KEY)
