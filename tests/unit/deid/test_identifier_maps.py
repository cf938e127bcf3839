"""Maps of identifiers are sealed, grow by whole pieces, and tell each pair once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from lamella.deid.identifier_maps import PIECE_PAIRS, IdentifierMap, list_maps, write_csv
from lamella.deid.keys import ProjectKey
from lamella.deid.sealing import SealBroken
from lamella.errors import InvalidRequest, ResourceNotFound

KEY = ProjectKey("trial-1", b"s" * 32)
PAIRS = [(f"1.2.3.{number:05}", f"2.25.{number}") for number in range(PIECE_PAIRS + 5)]


def open_map(folder: Path, key: ProjectKey = KEY, dataset: str = "public") -> IdentifierMap:
    return IdentifierMap(folder, dataset, key, "uid")


def find_file(folder: Path) -> Path:
    return folder / "maps" / "public" / "trial-1.uid.map"


def test_pairs_come_back_once_each_in_the_order_of_their_coming(tmp_path: Path) -> None:
    opened = open_map(tmp_path)
    assert opened.append(PAIRS) == len(PAIRS)
    opened.append([("9.9", "2.25.9"), PAIRS[0]])
    assert list(open_map(tmp_path).read()) == [*PAIRS, ("9.9", "2.25.9")]


def test_nothing_of_it_can_be_read_without_the_key(tmp_path: Path) -> None:
    open_map(tmp_path).append([("1.2.840.113619.2.5", "2.25.77")])
    content = find_file(tmp_path).read_bytes()
    assert b"1.2.840" not in content
    assert b"2.25.77" not in content
    with pytest.raises(SealBroken):
        list(open_map(tmp_path, ProjectKey("trial-1", b"t" * 32)).read())


def test_pieces_cannot_be_dropped_from_the_middle_or_changed(tmp_path: Path) -> None:
    opened = open_map(tmp_path)
    opened.append([("1", "2.25.1")])
    first = find_file(tmp_path).read_bytes()
    opened.append([("2", "2.25.2")])
    both = find_file(tmp_path).read_bytes()
    for wrong in (
        both[len(first) :],
        both[len(first) :] + first,
        both[:-1] + bytes([both[-1] ^ 1]),
    ):
        find_file(tmp_path).write_bytes(wrong)
        with pytest.raises(SealBroken):
            list(opened.read())


def test_a_piece_that_a_power_cut_left_unfinished_is_cut_off(tmp_path: Path) -> None:
    opened = open_map(tmp_path)
    opened.append([("1", "2.25.1")])
    whole = find_file(tmp_path).read_bytes()
    opened.append([("2", "2.25.2")])
    both = find_file(tmp_path).read_bytes()
    for length in range(len(whole), len(both)):
        find_file(tmp_path).write_bytes(both[:length])
        assert list(opened.read()) == [("1", "2.25.1")]
    opened.append([("3", "2.25.3")])
    assert list(opened.read()) == [("1", "2.25.1"), ("3", "2.25.3")]


def test_maps_are_listed_by_dataset(tmp_path: Path) -> None:
    open_map(tmp_path).append(PAIRS[:1])
    IdentifierMap(tmp_path, "public", KEY, "patient").append([("P1", "PX")])
    assert list_maps(tmp_path, "public") == [("trial-1", "patient"), ("trial-1", "uid")]
    assert list_maps(tmp_path, "other") == []
    with pytest.raises(ResourceNotFound):
        list(open_map(tmp_path, dataset="other").read())


def test_a_dataset_name_cannot_lead_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest):
        open_map(tmp_path, dataset="../public")


def test_the_csv_is_what_the_scorer_of_midi_b_reads() -> None:
    stream = io.StringIO()
    assert write_csv([("1.2", "2.25.1"), ("a,b", "2.25.2")], stream) == 2
    assert stream.getvalue() == 'id_old,id_new\n1.2,2.25.1\n"a,b",2.25.2\n'
