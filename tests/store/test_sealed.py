"""Small records that are whole, or known not to be."""

from __future__ import annotations

import math

import pytest

from kpflow_numerics._errors import InputError
from kpflow_numerics.store import StoreError, _disk
from kpflow_numerics.store.sealed import read_sealed, write_sealed

RECORD = {"loss": 0.1 + 0.2, "none": None, "list": [1, 2.5e-308, -0.0], "text": "ein Satz: ä"}


class PowerCut(Exception):
    """The process ends here."""


def test_a_record_keeps_all_bits(tmp_path) -> None:
    write_sealed(tmp_path / "a.json", {**RECORD, "nan": math.nan, "inf": math.inf})
    found = read_sealed(tmp_path / "a.json")
    assert math.isnan(found.pop("nan"))
    assert found.pop("inf") == math.inf
    assert found == RECORD
    assert math.copysign(1, found["list"][2]) == -1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_every_changed_byte_and_every_prefix_is_seen(tmp_path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"n": 7})
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(InputError, match="is damaged"):
            read_sealed(path)
        path.write_bytes(whole[:place])
        with pytest.raises(InputError, match="is damaged"):
            read_sealed(path)


def test_there_is_no_record(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        read_sealed(tmp_path / "absent.json")


@pytest.mark.parametrize("operation", ["write_at", "sync", "replace", "sync_directory"])
def test_a_cut_leaves_the_old_record_or_the_new(tmp_path, monkeypatch, operation) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"n": 1})

    def cut(*_):
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr(_disk, operation, cut)
        with pytest.raises(PowerCut):
            write_sealed(path, {"n": 2})
    assert read_sealed(path) == {"n": 2 if operation == "sync_directory" else 1}
    write_sealed(path, {"n": 3})
    assert read_sealed(path) == {"n": 3}


def test_a_full_disk_is_told(tmp_path, monkeypatch) -> None:
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_disk, "write_at", full)
    with pytest.raises(StoreError, match="no space is left"):
        write_sealed(tmp_path / "a.json", {"n": 1})
