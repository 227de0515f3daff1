"""Keys: the same inputs and method have the same, others have others."""

from __future__ import annotations

import os
import shutil

import pytest
from builders.cases import TINY_NETWORK, write_tiny_member

from deeppsma.core.errors import DeepPsmaError
from deeppsma.operation.cohort.key import content, method_key, stamp
from deeppsma.operation.cohort.plan import CohortSettings


@pytest.fixture
def case(tmp_path):
    folder = tmp_path / "case"
    (folder / "PSMA").mkdir(parents=True)
    (folder / "PSMA/PET.nii.gz").write_bytes(b"abc")
    (folder / "FDG").mkdir()
    return folder


def test_a_copy_has_the_same_content_and_another_stamp(case, tmp_path):
    shutil.copytree(case, tmp_path / "copy", copy_function=shutil.copyfile)
    os.utime(tmp_path / "copy/PSMA/PET.nii.gz", ns=(1, 1))
    assert content(tmp_path / "copy") == content(case)
    assert stamp(tmp_path / "copy") != stamp(case)


@pytest.mark.parametrize("change", ["bytes", "name", "more"])
def test_every_change_of_a_file_shows(case, change):
    before, path = content(case), case / "PSMA/PET.nii.gz"
    if change == "bytes":
        path.write_bytes(b"abd")
    elif change == "name":
        path.rename(case / "FDG/PET.nii.gz")
    else:
        (case / "FDG/CT.nii.gz").write_bytes(b"")
    assert content(case) != before


def test_hidden_files_and_circles_do_not_count(case):
    before = content(case), stamp(case)
    (case / ".DS_Store").write_bytes(b"x")
    (case / "again").symlink_to(case)
    assert (content(case), stamp(case)) == before


def test_a_folder_that_is_gone_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        stamp(tmp_path / "gone")


def test_method_keys_tell_recipes_weights_and_thresholds(tiny_weights, tmp_path, monkeypatch):
    settings = CohortSettings("single", weights=tiny_weights)
    key = method_key(settings)
    assert method_key(CohortSettings("single", "cpu", tiny_weights, report=True)) == key
    write_tiny_member(tmp_path / "cds-compact", TINY_NETWORK, 1)
    (tmp_path / "site.toml").write_text("# nothing")
    others = [
        CohortSettings("bothways", weights=tiny_weights),
        CohortSettings("single", weights=tmp_path),
        CohortSettings("single", weights=tiny_weights, psma_threshold=4.0),
        CohortSettings("single", weights=tiny_weights, site=tmp_path / "site.toml"),
    ]
    assert len({key, *map(method_key, others)}) == 5
    monkeypatch.setattr("deeppsma.operation.cohort.key.__version__", "9.9.9")
    assert method_key(settings) != key
    with pytest.raises(DeepPsmaError):
        method_key(CohortSettings("no-such-recipe"))
