"""Packs in S3 (a real SeaweedFS), near and far, with and without mistakes on the way."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from secrets import token_hex

import pytest

from lamella.archive.blocks import Block
from lamella.archive.packs.s3 import writer
from lamella.archive.packs.s3.bucket import Client
from lamella.archive.packs.s3.chunk_cache import CHUNK_BYTES, ChunkCache
from lamella.archive.packs.s3.patience import Patience
from lamella.archive.packs.s3.place import BucketPlace
from lamella.archive.packs.s3.store import S3PackStore
from lamella.archive.packs.store import PackStore, name_pack
from lamella.errors import IntegrityError, InvalidRequest, OutOfResources
from tests.contract.pack_store import PackStoreContract
from tests.harness.faulty_s3 import (
    Choose,
    Fault,
    FaultyProxy,
    Plan,
    choose_first,
    choose_often,
    faulty_proxy,
)
from tests.harness.s3_server import CREDENTIALS, S3Server, make_client

CACHE_BYTES = 256 << 20
PATIENCE = Patience(
    read_timeout_s=1.0, attempts=12, first_pause_s=0.01, longest_pause_s=0.1, deadline_s=30
)
BRIEF = Patience(
    read_timeout_s=1.0, attempts=3, first_pause_s=0.01, longest_pause_s=0.1, deadline_s=30
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def plan() -> Plan:
    return Plan()


@pytest.fixture
def proxy(s3_server: S3Server, plan: Plan) -> Iterator[FaultyProxy]:
    with faulty_proxy(s3_server.url, plan) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    return s3_server.make_bucket()


@pytest.fixture
def place(bucket: str, proxy: FaultyProxy) -> BucketPlace:
    return BucketPlace(bucket, f"some/{token_hex(8)}/", proxy.url)


class S3Contract(PackStoreContract):
    """The contract on S3, with what a class says about the way there."""

    has_cache = True
    latency_s = 0.0
    choose: Choose | None = None

    @pytest.fixture
    async def store(
        self, place: BucketPlace, plan: Plan, tmp_path: Path
    ) -> AsyncIterator[PackStore]:
        plan.latency_s = self.latency_s
        if self.choose is not None:
            plan.choose = self.choose
        cache = ChunkCache(tmp_path / "cache", CACHE_BYTES) if self.has_cache else None
        opened = S3PackStore(place, cache, PATIENCE)
        yield opened
        await opened.close()

    async def read_beside(self, store: PackStore, name: str) -> bytes | None:
        assert isinstance(store, S3PackStore)
        found = {key: size async for key, size, _ in store.bucket.list(store.place.prefix)}
        key = store.place.key_beside(name)
        if key not in found:
            return None

        async def read(client: Client) -> bytes:
            answer = await client.get_object(Bucket=store.place.bucket, Key=key)
            async with answer["Body"] as stream:
                data: bytes = await stream.read()
            return data

        return await store.bucket.work(read)


class TestS3PackStore(S3Contract):
    pass


class TestS3PackStoreFarAway(S3Contract):
    latency_s = 0.010


class TestS3PackStoreWithoutCache(S3Contract):
    has_cache = False


class TestS3PackStoreWithMistakes(S3Contract):
    """One request in six goes wrong, in every way there is; nobody notices."""

    choose = staticmethod(choose_often(5, 1 / 6, tuple(Fault)))


def open_store(place: BucketPlace, tmp_path: Path, patience: Patience = PATIENCE) -> S3PackStore:
    return S3PackStore(place, ChunkCache(tmp_path / "cache", CACHE_BYTES), patience)


@pytest.fixture
async def store(place: BucketPlace, tmp_path: Path) -> AsyncIterator[S3PackStore]:
    opened = open_store(place, tmp_path)
    yield opened
    await opened.close()


@pytest.fixture
async def patient(place: BucketPlace, tmp_path: Path) -> AsyncIterator[S3PackStore]:
    """A store that asks once and waits, so that requests can be counted on a busy machine."""
    opened = open_store(place, tmp_path, Patience())
    yield opened
    await opened.close()


@pytest.fixture
async def brief(place: BucketPlace, tmp_path: Path) -> AsyncIterator[S3PackStore]:
    """A store that soon gives up."""
    opened = open_store(place, tmp_path, BRIEF)
    yield opened
    await opened.close()


async def put(store: PackStore, folder: Path, data: bytes) -> str:
    name = name_pack()
    spool = folder / f"{name}.spool"
    spool.write_bytes(data)
    await store.adopt(name, spool)
    return name


def list_objects(s3_server: S3Server, place: BucketPlace) -> dict[str, int]:
    answer = make_client(s3_server.url).list_objects_v2(Bucket=place.bucket, Prefix=place.prefix)
    return {item["Key"]: item["Size"] for item in answer.get("Contents", [])}


class TestWrites:
    @pytest.mark.parametrize("fault", list(Fault))
    async def test_one_mistake_is_made_good(
        self, fault: Fault, store: S3PackStore, place: BucketPlace, plan: Plan,
        s3_server: S3Server, tmp_path: Path,
    ) -> None:  # fmt: skip
        plan.choose = choose_first(fault, 1, ("PUT",))
        data = os.urandom(300_000)
        name = await put(store, tmp_path, data)
        assert plan.done == [fault]
        assert await store.read(name, 0, len(data)) == data
        assert list_objects(s3_server, place) == {place.key_of(name): len(data)}

    @pytest.mark.parametrize(
        "fault",
        [Fault.ERROR, Fault.SLOW_DOWN, Fault.SILENCE, Fault.TORN_REQUEST, Fault.CHANGED_REQUEST],
    )
    async def test_what_cannot_be_written_is_refused_and_nothing_is_there(
        self, fault: Fault, brief: S3PackStore, place: BucketPlace, plan: Plan,
        s3_server: S3Server, tmp_path: Path,
    ) -> None:  # fmt: skip
        plan.choose = choose_first(fault, 99, ("PUT",))
        with pytest.raises(OutOfResources):
            await put(brief, tmp_path, os.urandom(300_000))
        assert len(plan.done) >= BRIEF.attempts  # its HTTP client asks again at times as well
        assert list_objects(s3_server, place) == {}

    async def test_one_store_is_one_request(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        await put(patient, tmp_path, bytes(20 << 20))
        block = Block()
        await patient.append(block, 5000)
        assert [method for method, _ in plan.requests] == ["PUT", "PUT"]

    async def test_a_wrong_etag_is_looked_into(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        plan.choose = choose_first(Fault.WRONG_ETAG, 1, ("PUT",))
        name = await put(patient, tmp_path, b"0123456789")
        assert [method for method, _ in plan.requests] == ["PUT", "GET"]
        assert await patient.read(name, 0, 10) == b"0123456789"

    async def test_a_bucket_that_is_not_there_is_named_at_once(
        self, place: BucketPlace, plan: Plan, tmp_path: Path
    ) -> None:
        store = open_store(BucketPlace("no-such-bucket", "", place.endpoint_url), tmp_path)
        with pytest.raises(OutOfResources, match="no-such-bucket does not exist"):
            await put(store, tmp_path, b"x")
        assert len(plan.requests) == 1
        with pytest.raises(OutOfResources, match="no-such-bucket does not exist"):
            await store.check()
        await store.close()

    async def test_wrong_credentials_are_named_at_once(
        self, place: BucketPlace, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        store = open_store(place, tmp_path)
        with pytest.raises(OutOfResources, match="secret key"):
            await put(store, tmp_path, b"x")
        with pytest.raises(OutOfResources, match="credentials"):
            await store.check()
        with pytest.raises(OutOfResources, match="refuses"):
            await store.read(name_pack(), 0, 1)
        assert len(plan.requests) == 3
        await store.close()

    def test_no_credentials_are_named_at_once(
        self, place: BucketPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        with pytest.raises(InvalidRequest, match="AWS_ACCESS_KEY_ID"):
            open_store(place, tmp_path)


class TestParts:
    """What is longer than one PUT should be goes in parts."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(writer, "SINGLE_PUT_BYTES", 6 << 20)
        monkeypatch.setattr(writer, "PART_BYTES", 5 << 20)

    def list_uploads(self, s3_server: S3Server, place: BucketPlace) -> list[object]:
        answer = make_client(s3_server.url).list_multipart_uploads(
            Bucket=place.bucket, Prefix=place.prefix
        )
        return list(answer.get("Uploads", []))

    async def test_a_long_pack_goes_in_parts(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(12 << 20)
        name = await put(patient, tmp_path, data)
        assert sorted(method for method, _ in plan.requests) == ["POST", "POST", *["PUT"] * 3]
        assert await patient.read(name, 0, len(data)) == data
        pieces = [piece async for piece in patient.stream(name, 100, len(data) - 200)]
        assert b"".join(pieces) == data[100:-100]

    @pytest.mark.parametrize("method", ["PUT", "POST"])
    @pytest.mark.parametrize("fault", list(Fault))
    async def test_one_mistake_is_made_good(
        self, fault: Fault, method: str, store: S3PackStore, plan: Plan, tmp_path: Path,
    ) -> None:  # fmt: skip
        plan.choose = choose_first(fault, 1, (method,))
        data = os.urandom(7 << 20)
        name = await put(store, tmp_path, data)
        assert plan.done == [fault]
        assert await store.read(name, 0, len(data)) == data

    async def test_what_cannot_be_written_is_refused_and_aborted(
        self, brief: S3PackStore, place: BucketPlace, plan: Plan, s3_server: S3Server,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        plan.choose = choose_first(Fault.SLOW_DOWN, 99, ("PUT",))
        with pytest.raises(OutOfResources):
            await put(brief, tmp_path, bytes(12 << 20))
        assert list_objects(s3_server, place) == {}
        assert self.list_uploads(s3_server, place) == []

    async def test_a_cancelled_upload_is_aborted(
        self, store: S3PackStore, place: BucketPlace, plan: Plan, s3_server: S3Server,
        tmp_path: Path,
    ) -> None:  # fmt: skip
        plan.choose = choose_first(Fault.SILENCE, 1, ("PUT",))
        task = asyncio.create_task(put(store, tmp_path, bytes(12 << 20)))
        while plan.count("PUT") == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert self.list_uploads(s3_server, place) == []

    async def test_only_old_leftovers_are_removed(
        self, patient: S3PackStore, place: BucketPlace, s3_server: S3Server,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        client = make_client(s3_server.url)
        client.create_multipart_upload(Bucket=place.bucket, Key=place.key_of(name_pack()))
        assert await patient.remove_leftovers() == 0
        assert len(self.list_uploads(s3_server, place)) == 1
        monkeypatch.setattr("lamella.archive.packs.s3.store.UPLOAD_GIVEN_UP", -timedelta(hours=1))
        assert await patient.remove_leftovers() == 1
        assert self.list_uploads(s3_server, place) == []


class TestReads:
    @pytest.mark.parametrize("fault", [f for f in Fault if "REQUEST" not in f.name])
    async def test_one_mistake_is_made_good(
        self, fault: Fault, store: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(9 << 20)
        name = await put(store, tmp_path, data)
        plan.choose = choose_first(fault, 1, ("GET",))
        assert await store.read(name, 77, 500_000) == data[77:500_077]
        assert plan.done == [fault]
        assert await store.read(name, 77, len(data) - 77) == data[77:]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault.ERROR, OutOfResources),
            (Fault.SLOW_DOWN, OutOfResources),
            (Fault.SILENCE, OutOfResources),
            (Fault.TORN_ANSWER, OutOfResources),
            (Fault.WRONG_RANGE, (IntegrityError, OutOfResources)),
        ],
    )
    async def test_what_cannot_be_read_is_an_error_and_is_not_kept(
        self, fault: Fault, error: type[Exception], brief: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(2 << 20)
        name = await put(brief, tmp_path, data)
        plan.choose = choose_first(fault, BRIEF.attempts, ("GET",))
        with pytest.raises(error):
            await brief.read(name, 5, 1 << 20)
        assert plan.done == [fault] * BRIEF.attempts
        assert await brief.read(name, 5, 1 << 20) == data[5 : 5 + (1 << 20)]

    async def test_an_object_that_changed_is_noticed(
        self, brief: S3PackStore, place: BucketPlace, s3_server: S3Server, tmp_path: Path
    ) -> None:
        name = await put(brief, tmp_path, bytes(9 * CHUNK_BYTES))
        for chunk in (0, 3):
            assert await brief.read(name, chunk * CHUNK_BYTES, 5) == bytes(5)
        client = make_client(s3_server.url)
        client.put_object(Bucket=place.bucket, Key=place.key_of(name), Body=b"1" * 9 * CHUNK_BYTES)
        with pytest.raises(IntegrityError):
            await brief.read(name, 8 * CHUNK_BYTES, 5)

    async def test_what_was_read_once_is_not_asked_for_again(
        self, patient: S3PackStore, place: BucketPlace, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(3 << 20)
        name = await put(patient, tmp_path, data)
        for start in range(0, len(data), 100_000):
            assert await patient.read(name, start, 1000) == data[start : start + 1000]
        assert plan.count("GET") <= 3
        other = open_store(place, tmp_path)  # another process of the same folder
        assert await other.read(name, 0, len(data)) == data
        await other.close()
        assert plan.count("GET") <= 3

    async def test_many_readers_of_a_chunk_share_a_request(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(CHUNK_BYTES)
        name = await put(patient, tmp_path, data)
        plan.latency_s = 0.2
        reads = [patient.read(name, start, 5000) for start in range(0, 150_000, 10_000)]
        for start, found in zip(
            range(0, 150_000, 10_000), await asyncio.gather(*reads), strict=True
        ):
            assert found == data[start : start + 5000]
        assert plan.count("GET") == 1

    async def test_reading_on_takes_ever_fewer_requests(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(32 << 20)
        name = await put(patient, tmp_path, data)
        for start in range(0, len(data), 512 << 10):
            assert await patient.read(name, start, 512 << 10) == data[start : start + (512 << 10)]
        assert plan.count("GET") <= 10

    async def test_ranges_close_together_come_at_once(
        self, patient: S3PackStore, plan: Plan, tmp_path: Path
    ) -> None:
        data = os.urandom(4 << 20)
        name = await put(patient, tmp_path, data)
        await patient.read(name, CHUNK_BYTES, 10)
        assert plan.count("GET") == 1
        assert await patient.read(name, 0, 4 << 20) == data
        assert plan.count("GET") == 2

    async def test_a_stream_that_is_left_leaves_nothing_behind(
        self, store: S3PackStore, tmp_path: Path
    ) -> None:
        data = os.urandom(20 << 20)
        name = await put(store, tmp_path, data)
        stream = store.stream(name, 0, len(data))
        assert await anext(stream) == data[:CHUNK_BYTES]
        await stream.aclose()
        assert await store.read(name, 0, len(data)) == data

    async def test_what_is_checked_is_the_object_itself(
        self, store: S3PackStore, place: BucketPlace, s3_server: S3Server, tmp_path: Path
    ) -> None:
        name = await put(store, tmp_path, b"0123456789")
        assert await store.read(name, 0, 10) == b"0123456789"
        make_client(s3_server.url).delete_object(Bucket=place.bucket, Key=place.key_of(name))
        assert await store.read(name, 0, 10) == b"0123456789"
        with pytest.raises(IntegrityError):
            await asyncio.to_thread(store.read_stored, name, 0, 10)


async def test_an_outage_is_an_error_and_passes(
    store: S3PackStore, brief: S3PackStore, s3_server: S3Server, tmp_path: Path
) -> None:
    data = os.urandom(100_000)
    name = await put(store, tmp_path, data)
    with s3_server.stopped():
        with pytest.raises(OutOfResources):
            await brief.check()
        with pytest.raises(OutOfResources):
            await brief.read(name, 0, 1000)
        with pytest.raises(OutOfResources):
            await put(brief, tmp_path, data)
    await brief.check()
    assert await brief.read(name, 0, 1000) == data[:1000]


async def test_only_packs_are_listed(
    store: S3PackStore, place: BucketPlace, s3_server: S3Server, tmp_path: Path
) -> None:
    names = {await put(store, tmp_path, b"x") for _ in range(3)}
    client = make_client(s3_server.url)
    for key in ("packs/ab/other", f"{place.prefix}packs/ab/README", f"{place.prefix}other"):
        client.put_object(Bucket=place.bucket, Key=key, Body=b"y")
    assert {info.name async for info in store.list()} == names
