"""Project keys are kept sealed, and open only by the master secret they were sealed with."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import msgspec
import pytest

from lamella.deid.key_files import read_key_file, write_key_file
from lamella.deid.keyring import Keyring
from lamella.deid.sealing import SealBroken, seal, unseal
from lamella.errors import (
    AlreadyExists,
    IntegrityError,
    InvalidRequest,
    NotAuthorized,
    ResourceNotFound,
)

SECRET = "correct horse battery staple"


def read_all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_key_is_found_again_by_id_and_by_name(tmp_path: Path) -> None:
    made = Keyring(tmp_path).create("trial")
    assert Keyring(tmp_path).find("trial") == made
    assert Keyring(tmp_path).find(made.id) == made
    assert made.id.startswith("trial-")
    assert len(made.secret) == 32


def test_the_project_default_gets_its_key_when_it_is_first_needed(tmp_path: Path) -> None:
    assert Keyring(tmp_path).find() == Keyring(tmp_path).find("default")
    with pytest.raises(ResourceNotFound):
        Keyring(tmp_path).find("other")


def test_a_second_key_for_a_project_is_made_by_rotation_alone(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    first = keyring.create("trial")
    with pytest.raises(AlreadyExists):
        keyring.create("trial")
    second = keyring.rotate("trial")
    assert second.secret != first.secret
    assert keyring.find("trial") == second
    assert keyring.find(first.id) == first
    with pytest.raises(ResourceNotFound):
        keyring.rotate("other")


def test_no_secret_is_in_a_file_unsealed(tmp_path: Path) -> None:
    key = Keyring(tmp_path, SECRET).create()
    content = read_all_bytes(tmp_path)
    assert key.secret not in content
    assert key.secret.hex().encode() not in content
    assert SECRET.encode() not in content
    assert not (tmp_path / "master.key").exists()


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    folder = tmp_path / "deid"
    Keyring(folder).create()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.name for path in files} >= {"keyring.json", "master.key"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    Keyring(tmp_path).create()
    os.chmod(tmp_path / "master.key", 0o644)
    with pytest.raises(NotAuthorized, match="0644"):
        Keyring(tmp_path).find()


@pytest.mark.parametrize("other", ["another secret altogether", ""])
def test_another_master_secret_opens_nothing(tmp_path: Path, other: str) -> None:
    Keyring(tmp_path, SECRET).create()
    with pytest.raises(NotAuthorized):
        Keyring(tmp_path, other).find()


def test_a_short_master_secret_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="16"):
        Keyring(tmp_path, "short")


@pytest.mark.parametrize(
    ("before", "after"), [("", SECRET), (SECRET, ""), ("", ""), (SECRET, "b" * 20)]
)
def test_a_changed_master_secret_opens_the_same_keys(
    tmp_path: Path, before: str, after: str
) -> None:
    keyring = Keyring(tmp_path, before)
    keys = [keyring.create("a"), keyring.rotate("a"), keyring.create("b")]
    keyring.open_log().add("create", "a")
    master = tmp_path / "master.key"
    old_file = master.read_bytes() if master.exists() else b""
    changed = keyring.change_master(after)
    assert [changed.find(key.id) for key in keys] == keys
    assert len(list(changed.open_log().read())) == 1
    if old_file:
        master.unlink(missing_ok=True)
        master.touch(0o600)
        master.write_bytes(old_file)
    with pytest.raises(NotAuthorized):
        Keyring(tmp_path, before).find("a")


def test_a_change_to_a_key_file_that_stopped_halfway_still_opens(tmp_path: Path) -> None:
    key = Keyring(tmp_path).create("a")
    old = (tmp_path / "master.key").read_bytes()
    Keyring(tmp_path).change_master("")
    # as if the power had gone between the keyring's replacement and the key file's
    (tmp_path / "master.key").rename(tmp_path / "master.key.next")
    (tmp_path / "master.key").touch(0o600)
    (tmp_path / "master.key").write_bytes(old)
    assert Keyring(tmp_path).find("a") == key


def test_a_sealed_secret_under_another_id_does_not_open(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    first, second = keyring.create("a"), keyring.create("b")
    path = tmp_path / "keyring.json"
    content = msgspec.json.decode(path.read_bytes())
    content["keys"][0]["sealed"], content["keys"][1]["sealed"] = (
        content["keys"][1]["sealed"],
        content["keys"][0]["sealed"],
    )
    path.write_bytes(msgspec.json.encode(content))
    for key in (first, second):
        with pytest.raises(SealBroken):
            keyring.find(key.id)


def test_a_seal_opens_with_its_key_and_context_alone() -> None:
    key, other = b"k" * 32, b"o" * 32
    sealed = seal(key, b"message", b"place")
    assert unseal(key, sealed, b"place") == b"message"
    assert b"message" not in sealed
    for wrong in (
        (other, sealed, b"place"),
        (key, sealed, b"elsewhere"),
        (key, sealed[:-1], b"place"),
        (key, b"", b"place"),
    ):
        with pytest.raises(SealBroken):
            unseal(*wrong)


def test_a_file_that_is_no_keyring_is_an_error(tmp_path: Path) -> None:
    Keyring(tmp_path).create()
    (tmp_path / "keyring.json").write_bytes(b"{")
    with pytest.raises(IntegrityError):
        Keyring(tmp_path).find()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidRequest):
        Keyring(tmp_path).create(name)


def test_a_key_file_carries_a_key_to_another_installation(tmp_path: Path) -> None:
    here, there = Keyring(tmp_path / "here"), Keyring(tmp_path / "there")
    key = here.create("trial")
    file = tmp_path / "key.json"
    write_key_file(file, key, "trial", "a long passphrase")
    assert key.secret not in file.read_bytes()
    with pytest.raises(SealBroken):
        read_key_file(file, "another passphrase")
    there.adopt(*read_key_file(file, "a long passphrase"))
    assert there.find("trial") == key
    with pytest.raises(AlreadyExists):
        there.adopt(key, "trial")
    with pytest.raises(InvalidRequest, match="12"):
        write_key_file(file, key, "trial", "short")
