"""Which form goes out, by transfer syntax and attributes."""

from __future__ import annotations

import pytest

from lamella.imaging.answers import Answer, is_lossy, plan_answer, plan_default_answer

IMPLICIT, EXPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99",
)  # fmt: skip
BASELINE, JPEG_LS, NEAR, J2K, J2K_ANY, MPEG4, JPIP, HTJ2K_ANY = (
    f"1.2.840.10008.1.2.4.{suffix}" for suffix in (50, 80, 81, 90, 91, 102, 94, 203)
)
RLE = "1.2.840.10008.1.2.5"
CT = {
    "00280002": {"vr": "US", "Value": [1]},
    "00280004": {"vr": "CS", "Value": ["MONOCHROME2"]},
    "00280008": {"vr": "IS", "Value": [3]},
    "00280010": {"vr": "US", "Value": [512]},
    "00280011": {"vr": "US", "Value": [512]},
    "00280100": {"vr": "US", "Value": [16]},
    "00280101": {"vr": "US", "Value": [12]},
    "00280103": {"vr": "US", "Value": [0]},
    "7FE00010": {"vr": "OB", "BulkDataURI": "bulkdata/7FE00010"},
}
WAS_LOSSY = CT | {"00282110": {"vr": "CS", "Value": ["01"]}}
HUGE = CT | {"00280008": {"vr": "IS", "Value": [8192]}}
LARGEST = CT | {"00280008": {"vr": "IS", "Value": [8191]}}
REPORT = {"00080016": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.1.1.88.11"]}}


@pytest.mark.parametrize(
    ("uid", "attributes", "expected"),
    [
        (EXPLICIT, CT, Answer.STORED),
        (IMPLICIT, CT, Answer.REWRITTEN),
        (BIG, REPORT, Answer.REWRITTEN),
        (DEFLATED, CT, Answer.REWRITTEN),
        (JPEG_LS, CT, Answer.DECOMPRESSED),
        (RLE, WAS_LOSSY, Answer.DECOMPRESSED),
        (J2K, WAS_LOSSY, Answer.DECOMPRESSED),
        (J2K_ANY, CT, Answer.DECOMPRESSED),
        (J2K_ANY, WAS_LOSSY, Answer.STORED),
        (HTJ2K_ANY, WAS_LOSSY, Answer.STORED),
        (NEAR, CT, Answer.STORED),
        (BASELINE, CT, Answer.STORED),
        (MPEG4, CT, Answer.STORED),
        (JPIP, REPORT | {"00287FE0": {"vr": "UR"}}, Answer.STORED),
        (J2K, REPORT, Answer.REWRITTEN),
        (J2K, CT | {"00280010": {"vr": "US"}}, Answer.STORED),
        ("1.2.3.4", CT, Answer.STORED),
    ],
)
def test_default_answers(uid, attributes, expected):
    assert plan_default_answer(uid, attributes, 3) == expected
    assert plan_answer(None, uid, attributes, 3) == expected


def test_length_and_frame_count_decide():
    assert plan_default_answer(J2K, LARGEST, 8191) == Answer.DECOMPRESSED
    assert plan_default_answer(J2K, HUGE, 8192) == Answer.STORED
    assert plan_default_answer(J2K, CT, 2) == Answer.STORED


@pytest.mark.parametrize(
    ("wanted", "uid", "expected"),
    [
        ("*", IMPLICIT, Answer.REWRITTEN),
        ("*", BIG, Answer.REWRITTEN),
        ("*", DEFLATED, Answer.STORED),
        ("*", J2K, Answer.STORED),
        (EXPLICIT, BASELINE, Answer.DECOMPRESSED),
        (EXPLICIT, MPEG4, None),
        (EXPLICIT, IMPLICIT, Answer.REWRITTEN),
        (J2K, J2K, Answer.STORED),
        (J2K, JPEG_LS, Answer.TRANSCODED),
        (IMPLICIT, IMPLICIT, None),
        (BIG, EXPLICIT, None),
    ],
)
def test_answers_to_a_named_transfer_syntax(wanted, uid, expected):
    assert plan_answer(wanted, uid, CT, 3) == expected


def test_lossy_forms():
    assert is_lossy(BASELINE, {})
    assert not is_lossy(J2K_ANY, {"00282110": {"vr": "CS"}})
    assert not is_lossy(EXPLICIT, WAS_LOSSY)
