"""The benchmark of de-identification measures: its keys are right, and doing nothing scores so."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread

from bench.phi.hunt import hunt, read_wanted, search, spell
from bench.phi.pipeline import deidentify
from bench.phi.studies import KINDS, generate
from lamella.deid.scoring.answers import ACTIONS, RETAINING, read_answers
from lamella.deid.scoring.scorer import score

SUBJECTS = 9


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phi")
    assert generate(folder, SUBJECTS, 5, "research") == 4 * SUBJECTS
    return folder


def list_identities(folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Return maps that change nothing."""
    uids, patients = set(), set()
    for answer in read_answers(folder / "key.db"):
        uids |= {answer.sop_uid}
        uids |= {check.value for check in answer.checks if check.action == "uid_consistent"}
        patients.add(answer.patient_id)
    return {uid: uid for uid in uids}, {one: one for one in patients}


def test_originals_pass_what_has_to_stay_and_fail_what_has_to_go(folder: Path) -> None:
    result = score(read_answers(folder / "key.db"), folder / "studies", *list_identities(folder))
    assert (result.missing, result.unexpected) == (0, 0)
    assert set(result.actions) == set(ACTIONS)
    passing = {*RETAINING, "uid_consistent"}
    for action, tally in result.actions.items():
        assert tally.total > 5
        assert tally.share == (1 if action in passing else 0), action


def test_the_hunt_finds_everything_in_the_originals(folder: Path) -> None:
    wanted = read_wanted(folder / "hunt.json")
    uids, _ = list_identities(folder)
    found = Counter(one.path for one in hunt(wanted, folder / "studies", uids))
    assert len(found) == 4 * SUBJECTS
    assert min(found.values()) > 20


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    def digest(name: str, seed: int) -> dict[str, str]:
        generate(tmp_path / name, 2, seed, "basic")
        files = (path for path in (tmp_path / name / "studies").rglob("*.dcm"))
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    assert digest("a", 1) == digest("b", 1)
    assert not set(digest("c", 2)) & set(digest("a2", 1))


def test_it_has_all_modalities_many_syntaxes_and_depths(folder: Path) -> None:
    headers = [dcmread(path) for path in (folder / "studies").rglob("*.dcm")]
    modalities = {ds.Modality for ds in headers} | {"SC"}
    assert {kind.modality for kind in KINDS} - modalities <= {"SC"}
    assert len({ds.file_meta.TransferSyntaxUID for ds in headers}) >= 6
    paths = [check.path for answer in read_answers(folder / "key.db") for check in answer.checks]
    assert max(path.count("[") for path in paths) >= 2
    assert any('"' in path for path in paths)


@pytest.mark.parametrize(
    "content",
    [b"..DOE^JANE..", b"jane doe", b"Doe, Jane", "DOE^JANE".encode("utf-16-le"), b"\0JANE_DOE\0"],
)
def test_the_hunt_knows_other_forms_of_a_name(content: bytes) -> None:
    assert [text for text, _ in search(content, ["DOE^JANE"])] == ["DOE^JANE"]
    assert list(search(b"DO^JANE DOJE", ["DOE^JANE"])) == []
    assert "short" not in spell("short")


def test_the_hunt_list_is_about_the_instances_of_the_key(folder: Path) -> None:
    wanted = json.loads((folder / "hunt.json").read_text())
    assert set(wanted) == {answer.sop_uid for answer in read_answers(folder / "key.db")}
    assert all(len(texts) > 20 for texts in wanted.values())


@pytest.mark.parametrize("profile", ["basic", "research"])
def test_headers_of_the_benchmark_come_out_clean(tmp_path: Path, profile: str) -> None:
    generate(tmp_path / "in", 7, 11, profile)
    outcome = deidentify(tmp_path / "in" / "studies", tmp_path / "out", profile, reads_pixels=False)
    output = tmp_path / "out" / "output"
    assert outcome.verdicts["PASS"] == 28
    assert list(hunt(read_wanted(tmp_path / "in" / "hunt.json"), output, outcome.uids)) == []
    answers = read_answers(tmp_path / "in" / "key.db")
    result = score(answers, output, outcome.uids, outcome.patients)
    hidden = result.actions["pixels_hidden"]
    assert hidden.passed == 0 < hidden.total
    assert result.overall.passed / (result.overall.total - hidden.total) >= 0.999
    assert min(tally.share for tally in result.over_redaction.values()) >= 0.99
    assert {action for action, tally in result.actions.items() if tally.passed} >= {
        "text_removed",
        "text_retained",
        "uid_consistent",
        "pixels_retained",
    }


def test_burned_in_text_of_the_benchmark_goes_and_pictures_without_it_stay(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    generate(tmp_path / "in", 3, 12, "basic")
    outcome = deidentify(tmp_path / "in" / "studies", tmp_path / "out", "basic")
    answers = read_answers(tmp_path / "in" / "key.db")
    result = score(answers, tmp_path / "out" / "output", outcome.uids, outcome.patients)
    assert result.missing == 0
    assert result.actions["pixels_hidden"].total > 3
    assert result.actions["pixels_hidden"].share == 1
    assert result.categories["pixels without text to hide"].share == 1
