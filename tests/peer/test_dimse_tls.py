"""Associations over TLS, with DCMTK's tools and their certificates, and with their users."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE

from lamella.dimse_gateway.identity import hash_passcode
from lamella.dimse_gateway.tls import make_client_context
from lamella.errors import InvalidRequest
from lamella.settings import Settings
from tests.harness.certificates import Certificate, make_certificate
from tests.harness.dimse_wire import (
    ACCEPT,
    LAST,
    Wire,
    make_associate_rq,
    make_p_data,
    make_store_rq,
)
from tests.peer.dcmtk import Finished, run_tool
from tests.peer.door import Door, open_door, wait_until
from tests.peer.instances import encode_data_set, make_instance, save_instance, save_series

SECRET = "a secret that is long enough for HS256"


@pytest.fixture
def authority(tmp_path: Path) -> Certificate:
    return make_certificate(tmp_path, "authority")


def open_tls(
    tmp_path: Path, authority: Certificate, **options: Any
) -> AbstractAsyncContextManager[Door]:
    """Open a door with a certificate of an authority."""
    own = make_certificate(tmp_path, "door", authority)
    return open_door(
        tmp_path / "data",
        dimse_tls_cert=str(own.path),
        dimse_tls_key=str(own.key_path),
        **options,
    )


async def run(door: Door, tool: str, *arguments: str | Path) -> Finished:
    """Run a tool against a door."""
    where = ("-v", "-aec", "LAMELLA", "127.0.0.1", str(door.port))
    options = [str(a) for a in arguments if not str(a).endswith(".dcm")]
    files = [str(a) for a in arguments if str(a).endswith(".dcm")]
    return await run_tool(tool, *options, *where, *files)


async def test_peers_without_certificates(tmp_path: Path, authority: Certificate) -> None:
    sent = save_instance(make_instance(), tmp_path / "one.dcm")
    async with open_tls(tmp_path, authority) as door:
        trusting = ("+tla", "+cf", authority.path)
        echoed = await run(door, "echoscu", *trusting)
        stored = await run(door, "storescu", *trusting, sent)
        assert echoed.exit_status == 0, echoed.output
        assert "(Success)" in stored.output, stored.output
        assert len(await door.list_instances()) == 1


async def test_peers_with_certificates(tmp_path: Path, authority: Certificate) -> None:
    peer = make_certificate(tmp_path, "peer", authority)
    save_series(tmp_path / "pushed", 20)
    files = sorted((tmp_path / "pushed").iterdir())
    async with open_tls(tmp_path, authority, dimse_tls_ca=str(authority.path)) as door:
        shown = ("+tls", peer.key_path, peer.path, "+cf", authority.path)
        echoed = await run(door, "echoscu", *shown)
        stored = await run(door, "storescu", *shown, *files)
        assert echoed.exit_status == 0, echoed.output
        assert stored.output.count("(Success)") == 20, stored.output
        assert len(await door.list_instances()) == 20


async def test_where_certificates_are_asked_nobody_comes_in_without(
    tmp_path: Path, authority: Certificate
) -> None:
    other = make_certificate(tmp_path, "stranger", make_certificate(tmp_path, "elsewhere"))
    async with open_tls(tmp_path, authority, dimse_tls_ca=str(authority.path)) as door:
        without = await run(door, "echoscu", "+tla", "+cf", authority.path)
        strange = await run(
            door, "echoscu", "+tls", other.key_path, other.path, "+cf", authority.path
        )
        assert without.exit_status != 0
        assert strange.exit_status != 0
        await wait_until(lambda: has_no_association(door))


async def test_who_speaks_no_tls_is_not_heard(tmp_path: Path, authority: Certificate) -> None:
    async with open_tls(tmp_path, authority) as door:
        assert (await run(door, "echoscu")).exit_status != 0
        await wait_until(lambda: has_no_association(door))
        assert (await run(door, "echoscu", "+tla", "+cf", authority.path)).exit_status == 0


async def test_who_begins_a_handshake_and_stops_harms_nobody(
    tmp_path: Path, authority: Certificate
) -> None:
    async with open_tls(tmp_path, authority) as door:
        with Wire(door.port) as first, Wire(door.port) as second:
            first.send(b"\x16\x03\x01\x02\x00\x01")
            second.send(make_associate_rq())
            finished = await run(door, "echoscu", "+tla", "+cf", authority.path)
            assert finished.exit_status == 0
        await wait_until(lambda: has_no_association(door))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_long_instances_in_either_version(
    tmp_path: Path, authority: Certificate, version: ssl.TLSVersion
) -> None:
    ds = make_instance()
    ds.Rows, ds.Columns, ds.PixelData = 2000, 3000, bytes(range(250)) * 24_000
    async with open_tls(tmp_path, authority) as door:
        context = make_client_context(Settings(dimse_tls_ca=str(authority.path)))
        context.minimum_version = context.maximum_version = version
        entity = AE(ae_title="MODALITY")
        entity.add_requested_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
        association = await asyncio.to_thread(
            entity.associate,
            "127.0.0.1",
            door.port,
            ae_title="LAMELLA",
            tls_args=(context, "127.0.0.1"),
        )
        assert association.is_established
        status = await asyncio.to_thread(association.send_c_store, ds)
        assert status.Status == 0x0000
        await asyncio.to_thread(association.release)
        assert await door.list_instances() == {ds.SOPInstanceUID}


async def test_old_versions_are_refused(tmp_path: Path, authority: Certificate) -> None:
    async with open_tls(tmp_path, authority) as door:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority.path)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1

        def shake() -> None:
            with socket.create_connection(("127.0.0.1", door.port)) as plain:
                context.wrap_socket(plain, server_hostname="127.0.0.1")

        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.to_thread(shake)


async def has_no_association(door: Door) -> bool:
    """Tell whether all associations are over."""
    return not door.gateway.list_associations()


@pytest.mark.parametrize("broken", ["dimse_tls_cert", "dimse_tls_key", "dimse_tls_ca"])
async def test_files_that_will_not_do(tmp_path: Path, authority: Certificate, broken: str) -> None:
    (tmp_path / "broken.pem").write_text("no certificate")
    options = {"dimse_tls_ca": str(authority.path)} | {broken: str(tmp_path / "broken.pem")}
    own = make_certificate(tmp_path, "door", authority)
    chosen = {"dimse_tls_cert": str(own.path), "dimse_tls_key": str(own.key_path)} | options
    with pytest.raises(InvalidRequest, match=r"LAMELLA_DIMSE_TLS"):
        async with open_door(tmp_path / "data", **chosen):
            pass


async def test_users_with_passcodes(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text(f"# of the wards\nada:{hash_passcode('right')}\nguest\n")
    async with open_door(tmp_path / "data", dimse_users=str(users)) as door:
        outcomes = {
            name: (await run(door, "storescu", *options, save(tmp_path))).exit_status == 0
            for name, options in {
                "right": ("-usr", "ada", "-pwd", "right"),
                "confirmed": ("-usr", "ada", "-pwd", "right", "-rsp"),
                "wrong": ("-usr", "ada", "-pwd", "wrong"),
                "empty": ("-usr", "ada", "-epw"),
                "no passcode": ("-usr", "ada"),
                "unknown": ("-usr", "bob", "-pwd", "right"),
                "guest": ("-usr", "guest"),
                "nobody": (),
            }.items()
        }
    assert {name for name, came_in in outcomes.items() if came_in} == {
        "right",
        "confirmed",
        "guest",
    }


def save(folder: Path) -> Path:
    """Write one new instance."""
    ds = make_instance()
    return save_instance(ds, folder / f"{ds.SOPInstanceUID}.dcm")


async def test_identities_are_let_be_where_nobody_asks(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data") as door:
        finished = await run(door, "storescu", "-usr", "bob", "-pwd", "any", save(tmp_path))
        assert finished.exit_status == 0, finished.output


def make_token(key: Any, *, algorithm: str = "HS256", minutes: int = 5, **more: Any) -> str:
    """Return a token that ends in so many minutes."""
    claims = {"sub": "ada", "exp": datetime.now(UTC) + timedelta(minutes=minutes), **more}
    headers = {"kid": "one"} if algorithm != "HS256" else {}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


async def test_tokens_by_a_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET + "\n")
    options = {"dimse_jwt": str(tmp_path / "secret"), "dimse_jwt_audience": "lamella"}
    tokens = {
        "right": make_token(SECRET, aud="lamella"),
        "late": make_token(SECRET, aud="lamella", minutes=-5),
        "for another": make_token(SECRET, aud="elsewhere"),
        "forged": make_token(SECRET[::-1], aud="lamella"),
        "without an end": jwt.encode({"aud": "lamella"}, SECRET, algorithm="HS256"),
        "unsigned": jwt.encode({"aud": "lamella", "exp": 2**32}, None, algorithm="none"),
        "junk": "junk",
    }
    async with open_door(tmp_path / "data", **options) as door:
        assert await find_accepted(door, tokens, tmp_path) == {"right"}


async def test_tokens_by_keys(tmp_path: Path) -> None:
    key, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    keys = {"keys": [public | {"kid": "one", "alg": "RS256", "use": "sig"}]}
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    tokens = {
        "right": make_token(key, algorithm="RS256"),
        "forged": make_token(other, algorithm="RS256"),
        "shared": make_token(SECRET),
    }
    async with open_door(tmp_path / "data", dimse_jwt=str(tmp_path / "keys.json")) as door:
        assert await find_accepted(door, tokens, tmp_path) == {"right"}


async def find_accepted(door: Door, tokens: dict[str, str], folder: Path) -> set[str]:
    """Return the names of the tokens with which storescu comes in."""
    accepted = set()
    for name, token in tokens.items():
        path = folder / "token"
        path.write_text(token)
        finished = await run(door, "storescu", "--jwt", path, save(folder))
        accepted |= {name} if finished.exit_status == 0 else set()
    return accepted


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("dimse_users", "ada:plain"),
        ("dimse_users", "\n"),
        ("dimse_jwt", "short"),
        ("dimse_jwt", '{"keys": 1}'),
    ],
)
async def test_files_of_users_that_will_not_do(tmp_path: Path, setting: str, text: str) -> None:
    (tmp_path / "users").write_text(text)
    with pytest.raises(InvalidRequest):
        async with open_door(tmp_path / "data", **{setting: str(tmp_path / "users")}):
            pass


async def test_one_peer_has_so_many_associations(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", dimse_peer_associations=2) as door:
        with Wire(door.port) as first, Wire(door.port) as second, Wire(door.port) as third:
            for wire in (first, second):
                assert await asyncio.to_thread(wire.associate) == ACCEPT
            third.send(make_associate_rq())
            assert (await asyncio.to_thread(third.read_pdu))[1] == b"\0\x02\x03\x02"
        await wait_until(lambda: has_no_association(door))
        assert (await run(door, "echoscu")).exit_status == 0


async def test_one_peer_requests_so_often(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", dimse_peer_rate=2) as door:
        assert [(await run(door, "echoscu")).exit_status for _ in range(2)] == [0, 0]
        refused = await run(door, "echoscu")
        assert "Temporary Congestion" in refused.output


async def test_silence_ends_an_association(tmp_path: Path) -> None:
    async with open_door(tmp_path / "data", dimse_timeout=1) as door:
        with Wire(door.port) as wire:
            assert await asyncio.to_thread(wire.associate) == ACCEPT
            await asyncio.to_thread(wire.read_to_end)


async def test_private_transfer_syntaxes_by_setting(tmp_path: Path) -> None:
    private = "1.2.826.0.1.3680043.2.1143.99.2"
    ds = make_instance()
    uid = str(ds.SOPInstanceUID)
    async with open_door(tmp_path / "data", dimse_transfer_syntaxes=f" {private}, 1.2.3 ") as door:
        with Wire(door.port) as wire:
            context = (SecondaryCaptureImageStorage, private)
            assert await asyncio.to_thread(wire.associate, context) == ACCEPT
            wire.send(make_store_rq(uid) + make_p_data(encode_data_set(ds), LAST))
            assert await asyncio.to_thread(wire.read_status) == 0x0000
        await wait_until(door.list_instances)
        assert await door.list_instances() == {uid}
