"""Images on the disk: whole or not at all, without names, forgotten in one step."""

from __future__ import annotations

import os
import stat
import time

import pytest

from deeppsma.operation.node import spool as spool_module
from deeppsma.operation.node.spool import Identity, Spool

ONE = Identity("MUELLER-1", "1.2", "1.2.3", "1.2.3.4")


def only(spool):
    (study,) = spool.studies()
    return study


def test_an_image_lies_there_under_no_name_and_replaces_itself(tmp_path):
    spool = Spool(tmp_path)
    path = spool.store(ONE, b"first")
    assert spool.store(ONE, b"second") == path
    assert path.read_bytes() == b"second"
    assert only(spool).series() == {spool.hashed("1.2.3"): (path,)}
    assert "MUELLER" not in str(path)
    assert "1.2.3" not in str(path)


def test_names_stay_over_a_restart_and_differ_between_storages(tmp_path):
    first, other = Spool(tmp_path / "a"), Spool(tmp_path / "b")
    assert Spool(tmp_path / "a").hashed("x") == first.hashed("x") != other.hashed("x")
    assert stat.S_IMODE((tmp_path / "a/names.key").stat().st_mode) == 0o600


def test_an_identity_is_whole():
    with pytest.raises(ValueError, match="no patient"):
        Identity("", "1", "2", "3")


def test_the_same_images_have_one_fingerprint_in_any_order(tmp_path):
    spool = Spool(tmp_path)
    two = Identity("MUELLER-1", "1.2", "1.2.9", "1.2.9.1")
    spool.store(ONE, b"1")
    lone = only(spool).fingerprint()
    spool.store(two, b"2")
    both = only(spool).fingerprint()
    spool.drop(only(spool))
    spool.store(two, b"2")
    spool.store(ONE, b"1")
    assert only(spool).fingerprint() == both != lone


def test_an_image_that_cannot_be_placed_leaves_nothing(tmp_path, monkeypatch):
    spool = Spool(tmp_path)

    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr(spool_module.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        spool.store(ONE, b"image")
    assert not any(study.series() for study in spool.studies())
    assert not list((tmp_path / "incoming").iterdir())


def test_half_an_image_of_a_killed_node_goes(tmp_path):
    Spool(tmp_path)
    (tmp_path / "incoming/half").write_bytes(b"x")
    Spool(tmp_path)
    assert not list((tmp_path / "incoming").iterdir())


def test_a_study_is_moved_once_and_its_patient_goes_with_the_last(tmp_path):
    spool = Spool(tmp_path)
    spool.store(ONE, b"1")
    study = only(spool)
    assert spool.move(study.patient, study.key, tmp_path / "there")
    assert not spool.move(study.patient, study.key, tmp_path / "there")
    assert (tmp_path / "there").is_dir()
    assert not list((tmp_path / "spool").iterdir())


def test_old_studies_are_swept_and_young_ones_stay(tmp_path):
    spool = Spool(tmp_path)
    spool.store(ONE, b"1")
    old = only(spool)
    for folder in (old.folder, *old.folder.iterdir()):
        os.utime(folder, (time.time() - 100,) * 2)
    spool.store(Identity("P2", "5", "6", "7"), b"2")
    assert [study.key for study in spool.sweep(50)] == [old.key]
    assert only(spool).key == spool.hashed("5")
    assert not list((tmp_path / "trash").iterdir())
