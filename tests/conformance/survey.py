"""Which checks find which faulty servers: makes `findings.json` anew.

    python -m tests.conformance.survey [FAULT…]

Runs every faulty server (or those named) under the checks of the groups it concerns, and writes
for each fault the checks that it is to be found by. A check is given to the fault that breaks the
fewest, so that each of the two says as much as it can about the other.
"""

import json
import sys
from pathlib import Path

from lamella.conformance.campaign import run_check
from lamella.conformance.catalogue import list_checks
from lamella.conformance.client import Client
from lamella.conformance.outcomes import Verdict
from lamella.conformance.probe import Probe, Specimen
from lamella.conformance.samples import SampleSet
from tests.conformance.faults.every import FAULTS
from tests.conformance.reference.holdings import Holdings, read_held
from tests.conformance.reference.server import serve

FINDINGS = Path(__file__).with_name("findings.json")
SHOWN = 3
"""Checks that a fault is given besides those that nothing else breaks."""


class Stand:
    """The samples, on every server that is tried; they are made and read once."""

    def __init__(self):
        self.samples = SampleSet()
        self.held = [read_held(sample.file) for sample in self.samples.by_name.values()]

    def try_checks(self, make, checks):
        """Return what becomes of checks on a server of a class."""
        with serve(make(Holdings(self.held))) as root:
            client = Client(timeout_s=20)
            probe = Probe(root, client, self.samples)
            probe.stored = set(self.samples.by_name)
            ct = self.samples["ct1"]
            probe.found_specimen = Specimen(ct.study_uid, ct.series_uid, ct.sop_uid)
            try:
                return [run_check(probe, check) for check in checks]
            finally:
                client.close()


def survey(names):
    """Return for each fault the ids of the checks that fail."""
    stand, found = Stand(), {}
    for fault in FAULTS.values():
        if not names or fault.name in names:
            checks = [check for check in list_checks() if check.group in fault.finds]
            results = stand.try_checks(fault.make, checks)
            found[fault.name] = [r.check.id for r in results if r.verdict is Verdict.FAILED]
            print(f"{fault.name}: {len(found[fault.name])}", flush=True)
    return found


def deal_out(found):
    """Give each check to the fault that breaks the fewest; each fault keeps a few in any case."""
    by_size = sorted(found, key=lambda name: len(found[name]))
    dealt = {name: found[name][:SHOWN] for name in found}
    seen = {check for checks in dealt.values() for check in checks}
    for name in by_size:
        new = [check for check in found[name] if check not in seen]
        dealt[name] += new
        seen.update(new)
    return dealt


def main():
    found = survey(sys.argv[1:])
    known = json.loads(FINDINGS.read_text()) if sys.argv[1:] else {}
    dealt = {**known, **(found if sys.argv[1:] else deal_out(found))}
    FINDINGS.write_text(json.dumps(dict(sorted(dealt.items())), indent=1) + "\n")
    missing = {check.id for check in list_checks()} - {c for ids in dealt.values() for c in ids}
    print("found by nothing:", *sorted(missing), sep="\n  ")
    print("finding nothing:", *[name for name, ids in dealt.items() if not ids], sep="\n  ")


if __name__ == "__main__":
    main()
