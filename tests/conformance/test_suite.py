"""The suite against servers whose faults are known: one without, and one for each fault.

The reference does what the checks ask. Each faulty server differs from it in one thing, and has to
be found by the checks that `findings.json` names (`survey.py` makes it). Each check has to fail
somewhere: one that cannot fail says nothing.
"""

import json
from pathlib import Path

import pytest

from lamella.conformance.campaign import run_campaign
from lamella.conformance.catalogue import list_checks
from lamella.conformance.client import Client
from lamella.conformance.outcomes import Verdict
from lamella.conformance.probe import Probe
from lamella.conformance.samples import SampleSet, write_file
from tests.conformance.faults.every import FAULTS
from tests.conformance.reference.holdings import Holdings, read_held
from tests.conformance.reference.server import Reference, serve
from tests.conformance.survey import FINDINGS, Stand

CHECKS = {check.id: check for check in list_checks()}
FOUND_BY = json.loads(Path(FINDINGS).read_text())

# Files are cut off on purpose, and pydicom says so.
pytestmark = pytest.mark.filterwarnings("ignore:End of file reached:UserWarning")


@pytest.fixture(scope="module")
def stand():
    return Stand()


def run(root, *only, read_only=False, **how):
    client = Client(timeout_s=20)
    probe = Probe(root, client, None if read_only else SampleSet())
    try:
        return run_campaign(probe, list_checks(only), **how)
    finally:
        client.close()


def list_ends(record, *verdicts):
    return {r.check.id: r.sentence for r in record.results if r.verdict in verdicts}


def hold_other_patients_study():
    sample = SampleSet("Someone")["ct1"]
    return read_held(sample.file)


def test_reference_passes_every_check_and_loses_nothing():
    other = hold_other_patients_study()
    reference = Reference(Holdings([other]))
    with serve(reference) as root:
        record = run(root)
    assert list_ends(record, *set(Verdict) - {Verdict.PASSED}) == {}
    assert len(record.results) == len(CHECKS)
    assert record.is_conformant
    assert record.left_studies == []
    assert [held.key for held in reference.holdings.select()] == [other.key]
    assert reference.holdings.select()[0].file == other.file


def test_samples_stay_if_asked():
    reference = Reference()
    with serve(reference) as root:
        record = run(root, "store/one", keep=True)
    assert set(record.left_studies) >= {held.key[0] for held in reference.holdings.select()}
    assert reference.holdings.select()


def test_read_only_run_stores_nothing_and_asks_what_it_can():
    class Frozen(Reference):
        def route(self, ask):
            assert ask.method in ("GET", "HEAD", "OPTIONS"), ask.method
            return super().route(ask)

    reference = Frozen(Holdings([hold_other_patients_study()]))
    with serve(reference) as root:
        record = run(root, read_only=True)
    assert list_ends(record, Verdict.FAILED, Verdict.NOT_OFFERED) == {}
    assert record.count(Verdict.PASSED) >= 250
    assert all(
        "read-only" in s or "single instance" in s
        for s in list_ends(record, Verdict.NOT_RUN).values()
    )


def test_server_without_delete_is_told_what_is_left():
    class Keeping(Reference):
        def route(self, ask):
            if ask.method == "DELETE":
                ask.method = "PUT"  # 405
            return super().route(ask)

    reference = Keeping()
    with serve(reference) as root:
        record = run(root)
    assert set(record.left_studies) >= {held.key[0] for held in reference.holdings.select()}
    ends = list_ends(record, Verdict.FAILED, Verdict.NOT_OFFERED, Verdict.NOT_RUN)
    assert {name.partition("/")[0] for name in ends} == {"delete"}
    assert record.count(Verdict.FAILED) == 0


def test_server_that_takes_no_stores_is_judged_by_what_it_has():
    class Closed(Reference):
        def route(self, ask):
            if ask.method == "POST":
                ask.method = "PUT"
            return super().route(ask)

    with serve(Closed(Holdings([hold_other_patients_study()]))) as root:
        record = run(root)
    assert list_ends(record, Verdict.FAILED) == {}
    assert record.count(Verdict.PASSED) >= 200


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_fault_is_found(name, stand):
    checks = [CHECKS[check_id] for check_id in FOUND_BY[name]]
    assert checks, f"nothing finds a server that {FAULTS[name].sentence}"
    results = stand.try_checks(FAULTS[name].make, checks)
    passed = [r.check.id for r in results if r.verdict is not Verdict.FAILED]
    assert not passed, f"a server that {FAULTS[name].sentence} passes"
    assert all(result.expected and result.got for result in results)


def test_every_check_fails_on_some_fault():
    assert set(FOUND_BY) == set(FAULTS)
    assert {check for checks in FOUND_BY.values() for check in checks} == set(CHECKS)


def test_there_are_checks_and_faults_enough():
    assert len(CHECKS) >= 250
    assert len(FAULTS) >= 60
    assert {rule for check in CHECKS.values() for rule in check.rules} == set(range(1, 31))
    assert all(check.section for check in CHECKS.values())


def test_samples_differ_from_run_to_run():
    first, second = SampleSet(), SampleSet()
    assert first.word != second.word
    uids = [{s.sop_uid, s.series_uid, s.study_uid} for s in (first["ct1"], second["ct1"])]
    assert not uids[0] & uids[1]
    assert write_file(first["ct1"].ds) == first["ct1"].file
