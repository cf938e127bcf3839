"""Deleting, where a server offers it.

Source:
    PS3.18 does not define it for the Studies Service; RFC 9110 §9.3.5 does, and servers follow
    the paths of PS3.18. Nothing is deleted but what the same check has stored.
"""

from __future__ import annotations

from pydicom import Dataset

from lamella.conformance.check import Group
from lamella.conformance.deposits import expect_absent, make_instance, path_of, store
from lamella.conformance.exchange import Reply
from lamella.conformance.expect import expect_equal, expect_status, read_data_sets, require_offered
from lamella.conformance.probe import Probe
from lamella.conformance.samples import make_uid

GROUP = Group("delete", "Deleting")
_SECTION = "RFC 9110 §9.3.5"


def _stored_pair(probe: Probe) -> tuple[Dataset, Dataset]:
    """Return two instances that were stored in two series of one study."""
    first = make_instance(probe)
    second = make_instance(probe, str(first.StudyInstanceUID))
    expect_status(store(probe, [first, second]), 200)
    return first, second


def _delete(probe: Probe, path: str) -> Reply:
    return require_offered(probe.send("DELETE", path), "DELETE", 400, 403)


def _deleted(probe: Probe, path: str) -> Reply:
    return expect_status(_delete(probe, path), 200, 204)


@GROUP.practice("instance", "an instance can be deleted, and is gone", _SECTION, 12)
def _instance(probe: Probe) -> None:
    first, _ = _stored_pair(probe)
    _deleted(probe, path_of(first))
    expect_absent(probe, first)


@GROUP.practice("instance-rest", "what is beside a deleted instance stays", _SECTION, 12)
def _instance_rest(probe: Probe) -> None:
    first, second = _stored_pair(probe)
    _deleted(probe, path_of(first))
    expect_status(probe.get(f"{path_of(second)}/metadata", fresh=True), 200)


@GROUP.practice("series", "a series can be deleted, and the others stay", _SECTION, 12)
def _series(probe: Probe) -> None:
    first, second = _stored_pair(probe)
    _deleted(probe, path_of(first).partition("/instances/")[0])
    expect_absent(probe, first)
    expect_status(probe.get(f"{path_of(second)}/metadata", fresh=True), 200)


@GROUP.practice("study", "a study can be deleted, and is gone", _SECTION, 12)
def _study(probe: Probe) -> None:
    first, second = _stored_pair(probe)
    _deleted(probe, f"/studies/{first.StudyInstanceUID}")
    expect_absent(probe, first, second)


@GROUP.practice("search", "what was deleted is not found any more", _SECTION, 12)
def _search(probe: Probe) -> None:
    first, _ = _stored_pair(probe)
    _deleted(probe, f"/studies/{first.StudyInstanceUID}")
    found = probe.search("/studies", f"StudyInstanceUID={first.StudyInstanceUID}")
    expect_equal(None, "results", found, [])


@GROUP.practice("counts", "counts follow what was deleted", _SECTION, 8, 12)
def _counts(probe: Probe) -> None:
    first, second = _stored_pair(probe)
    _deleted(probe, path_of(first))
    reply = probe.get(f"/studies/{second.StudyInstanceUID}/instances", fresh=True)
    expect_equal(reply, "instances:", len(read_data_sets(reply)), 1)


@GROUP.practice("again", "deleting what is gone is 404 or 410", _SECTION, 12)
def _again(probe: Probe) -> None:
    first, _ = _stored_pair(probe)
    _deleted(probe, f"/studies/{first.StudyInstanceUID}")
    reply = probe.send("DELETE", f"/studies/{first.StudyInstanceUID}")
    expect_status(reply, 404, 410)


@GROUP.practice("unknown", "deleting what was never there is 404", _SECTION, 12)
def _unknown(probe: Probe) -> None:
    first, _ = _stored_pair(probe)
    _deleted(probe, f"/studies/{first.StudyInstanceUID}")  # so DELETE is offered at all
    expect_status(probe.send("DELETE", f"/studies/{make_uid()}"), 404, 410)


@GROUP.practice("store-again", "what was deleted can be stored again", _SECTION, 12, 26)
def _store_again(probe: Probe) -> None:
    first, _ = _stored_pair(probe)
    _deleted(probe, f"/studies/{first.StudyInstanceUID}")
    expect_status(store(probe, [first]), 200)
    expect_status(probe.get(f"{path_of(first)}/metadata", fresh=True), 200)
