"""The conformance suite on real servers: Lamella at a branch and at a tag, and Debian's Orthanc."""

import pytest

from bench.servers import Orthanc
from lamella.conformance.campaign import run_campaign, run_check
from lamella.conformance.catalogue import list_checks
from lamella.conformance.client import Client
from lamella.conformance.outcomes import Verdict
from lamella.conformance.probe import Probe
from lamella.conformance.samples import SampleSet
from tests.harness.nginx import nginx
from tests.harness.proxy import proxy
from tests.harness.server import run_cli, serve


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("conformance"), cors_origins="*") as running:
        yield running


def examine(root, *, read_only=False, uri_service=None):
    client = Client()
    run = None if read_only else SampleSet()
    try:
        return run_campaign(Probe(root, client, run, uri_service), list_checks(), keep=True)
    finally:
        client.close()


def list_failures(record):
    return {
        result.check.id: result.sentence
        for result in record.results
        if result.verdict is Verdict.FAILED
    }


def test_lamella_does_what_the_standard_demands(server):
    record = examine(server.root())
    assert list_failures(record) == {}
    assert record.count(Verdict.NOT_RUN) == 0
    assert record.count(Verdict.PASSED) >= 500
    deletes = [one.verdict for one in record.results if one.check.id.startswith("delete/")]
    assert deletes == [Verdict.PASSED] * 9


def test_lamella_does_so_at_a_tag(server):
    examine(server.root())
    assert run_cli(server.data_dir, "tag", "create", "v1", "default@main").returncode == 0
    record = examine(server.root("v1"), read_only=True)
    assert list_failures(record) == {}
    assert record.count(Verdict.PASSED) >= 200


def test_a_tag_does_what_a_branch_does(server):
    """The samples come in through the branch; then a tag is examined with all that reads them."""
    client, samples = Client(), SampleSet()
    try:
        branch = Probe(server.root(), client, samples)
        run_campaign(branch, [], keep=True)
        assert run_cli(server.data_dir, "tag", "create", "v2", "default@main").returncode == 0
        frozen = Probe(server.root("v2"), client, samples)
        frozen.stored, frozen.found_specimen = branch.stored, branch.found_specimen
        results = [run_check(frozen, check) for check in list_checks()]
    finally:
        client.close()
    assert [one.sentence for one in results if one.verdict is Verdict.FAILED] == []
    assert [one.check.id for one in results if one.verdict is Verdict.NOT_RUN] == []
    refused = {one.check.group for one in results if one.verdict is Verdict.NOT_OFFERED}
    assert refused <= {"store", "refuse", "delete"}
    assert len([one for one in results if one.verdict is Verdict.PASSED]) >= 450


def test_lamella_does_so_behind_a_proxy_with_a_prefix(tmp_path):
    with proxy() as front, serve(tmp_path, public_url=front.url, cors_origins="*") as running:
        front.upstream = running.http
        record = examine(running.root().replace(running.http, front.url))
    assert list_failures(record) == {}
    assert record.count(Verdict.PASSED) >= 500


def test_lamella_does_so_behind_nginx_with_a_prefix(tmp_path):
    """By the headers that nginx sends; nothing tells Lamella its public URL."""
    with (
        serve(tmp_path / "data", cors_origins="*") as running,
        nginx(tmp_path / "nginx", running.http) as url,
    ):
        record = examine(running.root().replace(running.http, url))
    assert list_failures(record) == {}
    assert record.count(Verdict.NOT_RUN) == 0
    assert record.count(Verdict.PASSED) >= 500


@pytest.mark.skipif(not Orthanc.is_installed(), reason="Debian's orthanc-dicomweb is not installed")
def test_orthanc_is_examined_whole(tmp_path):
    orthanc = Orthanc(tmp_path)
    orthanc.start()
    try:
        base = f"http://127.0.0.1:{orthanc.port}"
        record = examine(f"{base}{orthanc.root}", uri_service=f"{base}/wado")
    finally:
        orthanc.stop()
    assert len(record.results) == len(list_checks())
    assert record.count(Verdict.NOT_RUN) == 0
    assert record.count(Verdict.PASSED) >= 350
    failed = [result for result in record.results if result.verdict is Verdict.FAILED]
    assert all(result.reply is not None for result in failed)
