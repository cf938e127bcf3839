"""Every file at hand through the public doors: stored, told apart, and given back unharmed.

Each file has a dataset of its own, so that no file stands in the way of another; at the end all
of them go into one dataset, where many do. pydicom is the judge of what a file holds.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

from lamella.archive.facts import read_facts
from lamella.archive.installation import open_archive
from lamella.archive.source import MemorySource
from lamella.files.tally import FileOutcome, FileResult, Tally
from lamella.settings import Settings
from lamella.vcs.refs import find_dataset
from lamella.vcs.repository import Repository
from lamella.vcs.stored import load_instances
from lamella.vcs.tables import commit, conflict
from lamella.vcs.view import open_view
from tests.harness.server import run_cli, serve
from tests.harness.stack import choose_stack
from tests.integration.corpus import (
    Corpus,
    Sample,
    find_samples,
    import_apart,
    import_together,
    quiet_pydicom,
)
from tests.integration.pydicom_oracle import (
    RULES,
    compare_metadata,
    count_frames,
    decode_frame,
    find_bulk_values,
    read_codestreams,
    read_native_frame,
    read_value,
)

EXPLICIT = "1.2.840.10008.1.2.1"
REWRITTEN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.2")
NATIVE = (*REWRITTEN, EXPLICIT, "1.2.840.10008.1.2.1.99")
DCT = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
ALWAYS_LOSSY = (*DCT, "1.2.840.10008.1.2.4.81")
PERHAPS_LOSSY = ("1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("corpus")
    samples = find_samples()
    asyncio.run(import_apart(folder / "data", samples, folder / "exported"))
    with serve(folder / "data") as server, httpx.Client(timeout=60) as client:
        yield Corpus(samples, server, client)


def test_what_pydicom_reads_is_stored_and_the_rest_is_told_why(corpus: Corpus):
    wrong = [
        f"{one.name}: {one.result}"
        for one in corpus.samples
        if one.must_be_stored and not one.is_stored
    ]
    fates = Counter(str(one.result.outcome) for one in corpus.samples if one.result)
    reasons = Counter(
        one.result.reason for one in corpus.samples if one.result and one.result.reason
    )
    fast = [read_facts(MemorySource(one.data)).fast for one in corpus.stored]
    print(f"\nfates: {dict(fates)}; reasons: {dict(reasons)}")
    print(f"header path: {sum(fast)} of {len(fast)} stored files")
    assert not wrong
    assert fates.total() == len(corpus.samples)
    assert all(one.result and one.result.reason for one in corpus.samples if not one.is_stored)


def test_original_bytes_come_back(corpus: Corpus):
    wrong = []
    for one in corpus.stored:
        _, original = one.urls(corpus.server.http)
        assert one.exported is not None
        if one.exported.read_bytes() != one.data:
            wrong.append(f"{one.name}: export")
        if corpus.get(original).content != one.data:
            wrong.append(f"{one.name}: /api/v1")
    assert not wrong


def test_metadata_agrees_with_pydicom(corpus: Corpus):
    wrong, seen = [], Counter[str]()
    for one in corpus.stored:
        web, _ = one.urls(corpus.server.http)
        answer = corpus.get(f"{web}/metadata")
        if answer.status_code != 200:
            wrong.append(f"{one.name}: {answer.status_code}")
            continue
        (document,) = answer.json()
        if list(document) != sorted(document):
            wrong.append(f"{one.name}: keys do not ascend")
        with quiet_pydicom():
            for place, difference in compare_metadata(document, one.ds):
                seen[difference] += 1
                if difference not in RULES:
                    wrong.append(f"{one.name}{place}: {difference}")
    print(f"\ndifferences: {dict(seen)}")
    assert not wrong, "\n".join(wrong)


def test_bulk_values_resolve(corpus: Corpus):
    wrong, count = [], 0
    for one in corpus.stored:
        web, _ = one.urls(corpus.server.http)
        (document,) = corpus.get(f"{web}/metadata").json()
        ds = one.ds
        for path, element in find_bulk_values(document):
            count += 1
            assert element["BulkDataURI"] == f"{web}/bulkdata/{path}"
            if path == "7FE00010" and is_encapsulated(ds):
                continue  # it goes out as frames; see below
            answer = corpus.get(element["BulkDataURI"])
            with quiet_pydicom():
                expected = read_value(ds, path)
            if (answer.status_code, answer.content) != (200, expected):
                wrong.append(f"{one.name}/{path}: {answer.status_code} {len(answer.content)}")
    assert count > 100
    assert not wrong, "\n".join(wrong)


def is_encapsulated(ds: pydicom.FileDataset) -> bool:
    with quiet_pydicom():
        return "PixelData" in ds and ds["PixelData"].is_undefined_length


def test_instances_go_out_as_the_standard_says(corpus: Corpus):
    wrong, forms = [], Counter[str]()
    for one in corpus.stored:
        web, _ = one.urls(corpus.server.http)
        stored = corpus.get(web, "application/dicom; transfer-syntax=*")
        default = corpus.get(web, "application/dicom")
        with quiet_pydicom():
            wrong += [f"{one.name} *: {text}" for text in check_as_stored(one, stored)]
            form, complaints = check_default(one, default)
        forms[form] += 1
        wrong += [f"{one.name} default: {text}" for text in complaints]
    print(f"\ndefault answers: {dict(forms)}")
    assert not wrong, "\n".join(wrong)


def name_syntax(answer: httpx.Response) -> str:
    return answer.headers["content-type"].rpartition("transfer-syntax=")[2]


def check_as_stored(one: Sample, answer: httpx.Response) -> list[str]:
    if answer.status_code != 200:
        return [f"{answer.status_code}: {answer.text[:200]}"]
    if str(one.ds.file_meta.get("TransferSyntaxUID", "")) in REWRITTEN:
        return check_explicit(one, answer)
    return [] if answer.content == one.data else ["other bytes than stored"]


def check_default(one: Sample, answer: httpx.Response) -> tuple[str, list[str]]:
    if answer.status_code != 200:
        return "failed", [f"{answer.status_code}: {answer.text[:200]}"]
    ds = one.ds
    uid = str(ds.file_meta.get("TransferSyntaxUID", ""))
    is_lossy = uid in ALWAYS_LOSSY or (
        uid in PERHAPS_LOSSY and ds.get("LossyImageCompression") == "01"
    )
    if uid == EXPLICIT or is_lossy:
        same = answer.content == one.data
        return "explicit or lossy: as stored", [] if same else ["other bytes than stored"]
    if is_encapsulated(ds) and uid not in NATIVE and read_pixels(ds) is None:
        return "not decodable", []
    return "explicit", check_explicit(one, answer)


def check_explicit(one: Sample, answer: httpx.Response) -> list[str]:
    if name_syntax(answer) != EXPLICIT:
        return [f"transfer syntax {name_syntax(answer)}"]
    before, after = one.ds, pydicom.dcmread(pydicom.filebase.DicomBytesIO(answer.content))
    if after.file_meta.TransferSyntaxUID != EXPLICIT:
        return ["its file meta name another transfer syntax"]
    complaints = []
    tags = [[tag for tag in flatten(ds) if tag[-1] & 0xFFFF] for ds in (before, after)]
    if tags[0] != tags[1]:
        complaints.append(f"tags {sorted(set(tags[0]) ^ set(tags[1]))[:5]}")
    pixels = [read_pixels(before), read_pixels(after)]
    if pixels[0] is not None and (
        pixels[1] is None or not np.array_equal(pixels[0], pixels[1], equal_nan=True)
    ):
        complaints.append("other pixels")
    return complaints


def flatten(ds: Dataset, path: tuple[int, ...] = ()) -> list[tuple[int, ...]]:
    """Return the path of every element but offset tables, which decompression takes away."""
    found = []
    for tag in sorted(map(int, list(ds.keys()))):
        if tag in (0x00080001, 0x7FE00001, 0x7FE00002):
            continue
        found.append((*path, tag))
        if ds[tag].VR == "SQ":
            for index, item in enumerate(ds[tag].value):
                found += flatten(item, (*path, tag, index))
    return found


def read_pixels(ds: pydicom.FileDataset) -> np.ndarray | None:
    try:
        return pixel_array(ds, raw=True)
    except (NotImplementedError, RuntimeError, AttributeError, ValueError, TypeError, KeyError):
        return None


def test_first_and_last_frames(corpus: Corpus):
    wrong, fates = [], Counter[str]()
    for one in corpus.stored:
        ds = one.ds
        if not any(keyword in ds for keyword in ("PixelData", "FloatPixelData")):
            continue
        web, _ = one.urls(corpus.server.http)
        with quiet_pydicom():
            last = count_frames(ds)
            for number in sorted({1, last}):
                for fate, complaint in check_frame(corpus, ds, f"{web}/frames/{number}", number):
                    fates[fate] += 1
                    if complaint:
                        wrong.append(f"{one.name} {number} {fate}: {complaint}")
    print(f"\nframes: {dict(fates)}")
    assert not wrong, "\n".join(wrong)


def test_no_request_broke_the_server(corpus: Corpus):
    assert corpus.get(f"{corpus.server.http}/readyz").status_code == 200
    assert corpus.server.peak_memory_kib() < 250 * 1024
    assert not [line for line in corpus.server.errors if "Traceback" in line]


def check_frame(
    corpus: Corpus, ds: pydicom.FileDataset, url: str, number: int
) -> Iterator[tuple[str, str]]:
    """Yield (what was compared, complaint or '')."""
    plain = corpus.get(url, "application/octet-stream")
    coded = corpus.get(url, "application/octet-stream; transfer-syntax=*")
    if not is_encapsulated(ds):
        try:
            expected = read_native_frame(ds, number - 1)
        except (ValueError, AttributeError, TypeError):
            yield "indescribable", "" if plain.status_code in (404, 406) else plain.text[:200]
            return
        yield "native", compare_frame(plain, expected)
        yield "native, as stored", compare_frame(coded, expected)
        return
    try:
        yield "codestream", compare_frame(coded, read_codestreams(ds)[number - 1])
    except (ValueError, IndexError) as error:
        yield f"codestreams that pydicom cannot tell apart: {error}", ""
    expected_frame = decode_frame(ds, number - 1)
    if expected_frame is None:
        yield f"not decoded by pydicom, ours {plain.status_code}", ""
        return
    tolerance = 1 if ds.file_meta.TransferSyntaxUID in DCT else 0
    yield "decoded", compare_frame(plain, expected_frame, tolerance)


def compare_frame(answer: httpx.Response, expected: bytes, tolerance: int = 0) -> str:
    if answer.status_code != 200:
        return f"{answer.status_code}: {answer.text[:200]}"
    if answer.content == expected:
        return ""
    if len(answer.content) != len(expected):
        return f"{len(answer.content)} bytes, not {len(expected)}"
    pair = [np.frombuffer(data, "u1").astype("i2") for data in (answer.content, expected)]
    distance = int(np.abs(pair[0] - pair[1]).max())
    return "" if distance <= tolerance else f"differs by up to {distance}"


@dataclass
class Crowd:
    """All files in one dataset, imported twice."""

    data_dir: Path
    first: tuple[Tally, list[FileResult]]
    second: tuple[Tally, list[FileResult]]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    data_dir = tmp_path_factory.mktemp("crowd") / "data"
    first, second = (asyncio.run(import_together(data_dir, "default")) for _ in range(2))
    return Crowd(data_dir, first, second)


def test_together_the_sums_add_up(crowd: Crowd):
    tally, results = crowd.first
    print(f"\n{tally}")
    assert len(results) == len(find_samples())
    fates = Counter(result.outcome for result in results)
    assert tally.stored == fates[FileOutcome.STORED] > 0
    assert tally.conflicts == fates[FileOutcome.CONFLICT] > 0
    assert fates.total() == (
        tally.stored + tally.unchanged + tally.conflicts + tally.refused + tally.ignored
    )
    assert all(result.reason for result in results if result.outcome is FileOutcome.CONFLICT)


def test_together_a_second_import_stores_nothing(crowd: Crowd):
    (first, _), (second, results) = crowd.first, crowd.second
    print(f"\n{second}")
    assert [result.path for result in results if result.outcome is FileOutcome.STORED] == []
    assert second.commit_id == first.commit_id
    assert second.unchanged == first.stored + first.unchanged
    assert (second.conflicts, second.refused) == (first.conflicts, first.refused)


async def test_together_no_bytes_are_lost(crowd: Crowd):
    kept = await hash_all_kept(crowd.data_dir)
    lost = [
        f"{result.path} {result.reason}"
        for result in crowd.first[1]
        if result.outcome in (FileOutcome.STORED, FileOutcome.CONFLICT)
        and hashlib.sha256(Path(result.path).read_bytes()).hexdigest() not in kept
    ]
    assert not lost, "\n".join(lost)


async def hash_all_kept(data_dir: Path) -> set[str]:
    """Return the SHA-256 of every file that a commit or the conflict queue holds."""
    archive = await open_archive(Settings(data_dir=data_dir, **choose_stack(data_dir)))
    repository = Repository(archive)

    def read(connection: sa.Connection) -> set[tuple[tuple[bytes, int], ...]]:
        dataset_id = find_dataset(connection, "default").id
        found = set()
        for commit_id in connection.execute(sa.select(commit.c.id)).scalars():
            view = open_view(connection, repository, "default", commit_id.hex())
            walk = view.tree(connection, repository).walk()
            found |= {entry.segments for *_, entry in walk}
        keys = list(connection.execute(sa.select(conflict.c.key)).scalars())
        queued = load_instances(connection, dataset_id, keys).values()
        return found | {one.to_entry().segments for one in queued}

    try:
        kept = set()
        for segments in await archive.database.read(read):
            digest = hashlib.sha256()
            async for chunk in repository.blobs.stream(segments):
                digest.update(chunk)
            kept.add(digest.hexdigest())
        return kept
    finally:
        await archive.close()


def test_together_fsck_finds_nothing(crowd: Crowd):
    done = run_cli(crowd.data_dir, "fsck", "--bytes")
    assert done.returncode == 0, done.stdout + done.stderr
