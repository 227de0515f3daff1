import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from builders.cases import (
    GRIDS,
    THRESHOLDS,
    TRANSFORM,
    blobs,
    memory_case,
    write_platform_case,
    write_train_case,
)

from deeppsma.core.errors import InputError
from deeppsma.core.geometry import Geometry
from deeppsma.core.tracer import Tracer
from deeppsma.core.transforms import RigidTransform
from deeppsma.core.volume import Volume
from deeppsma.io.case import Case
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.layouts import load_case
from deeppsma.io.transform_files import to_challenge


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
@pytest.mark.parametrize("with_listing", [True, False])
def test_platform_case(tmp_path, suffix, with_listing):
    case = load_case(write_platform_case(tmp_path / "input", suffix, with_listing))
    for tracer in Tracer:
        study = case.study(tracer)
        assert study.threshold_suv == THRESHOLDS[tracer]
        assert study.pet.geometry.same_grid(GRIDS[tracer])
        assert study.organs is not None
        assert study.ct is not None
        assert study.truth is None
    assert np.allclose(case.fdg_to_psma.matrix, TRANSFORM.matrix)


def test_train_case(tmp_path):
    case = load_case(write_train_case(tmp_path / "train_0001"))
    assert case.name == "train_0001"
    assert case.psma.truth is not None
    assert case.psma.ct is None
    assert case.fdg.threshold_suv == THRESHOLDS[Tracer.FDG]
    assert np.allclose(case.fdg_to_psma.matrix, TRANSFORM.matrix, atol=1e-6)


def test_transforms_are_each_others_inverse(platform_case):
    case = load_case(platform_case)
    there, back = case.transform(Tracer.FDG), case.transform(Tracer.PSMA)
    point = np.array([[1.0, 2, 3]])
    assert back.apply(there.apply(point)) == pytest.approx(point)


def test_the_input_folder_may_be_a_link_and_file_names_are_free(tmp_path, platform_case):
    next((platform_case / "images/fdg-pet").iterdir()).rename(platform_case / "images/fdg-pet/any name.mha")
    (tmp_path / "link").symlink_to(platform_case)
    assert load_case(tmp_path / "link").fdg.pet.path.name == "any name.mha"


def test_hidden_files_beside_an_image_are_no_images(platform_case):
    (platform_case / "images/fdg-pet/._image.mha").write_text("left by a file manager")
    assert load_case(platform_case).fdg.pet.path.name == "image.mha"


def test_other_paths_named_by_the_listing_are_followed(platform_case):
    shutil.move(platform_case / "images/fdg-pet", platform_case / "elsewhere")
    listing = json.loads((platform_case / "inputs.json").read_text())
    for entry in listing:
        if entry["interface"]["slug"] == "fdg-pet":
            entry["interface"]["relative_path"] = "elsewhere"
    (platform_case / "inputs.json").write_text(json.dumps(listing))
    assert load_case(platform_case).fdg.pet.path.parent.name == "elsewhere"


def test_values_may_stand_in_the_listing(platform_case):
    (platform_case / "fdg-pet-suv-threshold.json").unlink()
    (platform_case / "psma-to-fdg-registration.json").unlink()
    listing = json.loads((platform_case / "inputs.json").read_text())
    for entry in listing:
        if entry["interface"]["slug"] == "fdg-pet-suv-threshold":
            entry["value"] = 2.75
        if entry["interface"]["slug"] == "psma-to-fdg-registration":
            entry["value"] = to_challenge(TRANSFORM)
    (platform_case / "inputs.json").write_text(json.dumps(listing))
    case = load_case(platform_case)
    assert case.fdg.threshold_suv == 2.75
    assert np.allclose(case.fdg_to_psma.matrix, TRANSFORM.matrix)


def test_an_organ_map_that_is_not_offered_may_be_missing(tmp_path):
    folder = write_platform_case(tmp_path / "input", with_listing=False)
    shutil.rmtree(folder / "images/fdg-ct-organ-segmentation")
    assert load_case(folder).fdg.organs is None
    assert load_case(folder).fdg.read_organs() is None


def test_nothing_but_headers_is_read_on_loading(platform_case, monkeypatch):
    def refuse(self, dtype=None):
        raise AssertionError(f"read {self.path}")

    monkeypatch.setattr(ImageFile, "read", refuse)
    load_case(platform_case)


def test_organ_labels_of_a_float_map_become_whole_numbers(platform_case):
    place = platform_case / "images/psma-ct-organ-segmentation"
    volume = load_case(platform_case).psma.read_organs()
    shutil.rmtree(place)
    place.mkdir()
    write_image(Volume(volume.voxels.astype(np.float32), volume.geometry), place / "a.nii.gz")
    again = load_case(platform_case).psma.read_organs()
    assert again.voxels.dtype == np.uint8
    assert np.array_equal(again.voxels, volume.voxels)


@pytest.mark.parametrize("value", [-1, 118, 0.5, np.nan])
def test_wrong_organ_labels_are_refused(platform_case, value):
    case = load_case(platform_case)
    volume = case.psma.read_organs()
    voxels = volume.voxels.astype(np.float32)
    voxels[0, 0, 0] = value
    write_image(Volume(voxels, volume.geometry), case.psma.organs.path)
    with pytest.raises(InputError, match=r"organ labels|NaN"):
        load_case(platform_case).psma.read_organs()


def test_studies_that_the_registration_tears_apart_are_refused(platform_case):
    far = RigidTransform(translation_xyz=(0.0, 0.0, 5000.0))
    (platform_case / "psma-to-fdg-registration.json").write_text(json.dumps(to_challenge(far)))
    with pytest.raises(InputError, match="wholly outside"):
        load_case(platform_case)


def test_a_truth_on_another_grid_is_refused(tmp_path):
    folder = write_train_case(tmp_path / "train_0001")
    grid = replace(GRIDS[Tracer.FDG], origin_xyz=(0.0, 0.0, 0.0))
    write_image(Volume(np.zeros(grid.shape_zyx, np.uint8), grid), folder / "FDG/TTB.nii.gz")
    with pytest.raises(InputError, match="not the PET's grid"):
        load_case(folder)


@pytest.mark.parametrize("name", ["FDG/PET.nii.gz", "FDG/rigid.tfm", "PSMA/threshold.json"])
def test_an_incomplete_train_case_is_refused(tmp_path, name):
    folder = write_train_case(tmp_path / "train_0001")
    (folder / name).unlink()
    with pytest.raises(InputError, match=name.split("/")[1]):
        load_case(folder)


def test_no_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no such folder; give a platform .*, or a folder of DICOM files$"):
        load_case(tmp_path / "nowhere")


def test_a_folder_that_holds_no_case_is_refused(tmp_path):
    with pytest.raises(InputError) as refused:
        load_case(tmp_path)
    assert str(refused.value) == (
        f"{tmp_path}: empty; give a platform input folder, a train_XXXX folder, or a folder of DICOM files"
    )
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"\(and 4 more\), and no DICOM file found either; .* one deeper\?$"):
        load_case(tmp_path)
    (tmp_path / "a.dcm").write_bytes(bytes(128) + b"DICM" + bytes(8))
    with pytest.raises(InputError, match="holds DICOM files; give the folder to segment"):
        load_case(tmp_path)


def test_a_ct_that_is_none_is_refused(platform_case):
    study = load_case(platform_case).fdg
    assert study.read_ct().voxels.min() == -1000
    assert replace(study, ct=None).read_ct() is None
    path = study.ct.path
    for value in (40, -20000, 90000):
        voxels = np.full(study.ct.geometry.shape_zyx, value, np.float32)
        voxels[0] = -1000 if value > 1000 else value
        write_image(Volume(voxels, study.ct.geometry), path)
        with pytest.raises(InputError, match="give the CT in Hounsfield units"):
            load_case(platform_case).fdg.read_ct()


@pytest.mark.parametrize("tracer", list(Tracer))
def test_what_takes_both_tracers_refuses_one(tmp_path, tracer):
    folder = write_train_case(tmp_path / "train_0001")
    load_case(folder).require_both()
    shutil.rmtree(folder / tracer.upper())
    case = load_case(folder)
    assert case.tracers == (tracer.other,)
    with pytest.raises(InputError, match=f"no {tracer.upper()} study beside it; give cases with both tracers"):
        case.require_both()


def test_a_case_from_memory_is_checked_as_one_from_files():
    with pytest.raises(InputError, match="a case without a study"):
        Case.from_images(thresholds={})
    with pytest.raises(InputError, match="no threshold for the FDG PET"):
        memory_case(thresholds={Tracer.PSMA: 3.0})
    with pytest.raises(InputError, match="a threshold of 0"):
        memory_case(thresholds=dict.fromkeys(Tracer, 0.0))
    wrong = np.full(GRIDS[Tracer.FDG].shape_zyx, np.nan, np.float32)
    with pytest.raises(InputError, match="NaN or infinite"):
        memory_case(fdg_pet=Volume(wrong, GRIDS[Tracer.FDG]))
    with pytest.raises(InputError, match="give one 3-D volume"):
        memory_case(fdg_pet=sitk.Image(4, 4, sitk.sitkFloat32))
    flat = Geometry((1, 4, 4), (3.0, 3.0, 3.0))
    with pytest.raises(InputError, match="give one 3-D volume"):
        memory_case(fdg_pet=Volume(np.ones(flat.shape_zyx, np.float32), flat))
    case = memory_case()
    with pytest.raises(InputError, match="swap them"):
        Case("c", {Tracer.PSMA: case.fdg, Tracer.FDG: case.psma})
    far = RigidTransform(translation_xyz=(5000.0, 0.0, 0.0))
    with pytest.raises(InputError, match="wholly outside"):
        memory_case(fdg_to_psma=far)


def test_a_case_from_simpleitk_images_and_from_files_of_ones_own(tmp_path):
    pets = {tracer: Volume(blobs(GRIDS[tracer], 10 + n), GRIDS[tracer]) for n, tracer in enumerate(Tracer)}
    images = {f"{tracer}_pet": pets[tracer].to_sitk() for tracer in Tracer}
    of_images = Case.from_images(**images, thresholds=THRESHOLDS, fdg_to_psma=TRANSFORM)
    for tracer in Tracer:
        write_image(pets[tracer], tmp_path / f"any-{tracer}.nii.gz")
    paths = {f"{tracer}_pet": tmp_path / f"any-{tracer}.nii.gz" for tracer in Tracer}
    of_files = Case.from_files(**paths, thresholds=THRESHOLDS, fdg_to_psma=TRANSFORM)
    for case in (of_images, of_files):
        for tracer in Tracer:
            assert np.allclose(case.study(tracer).read_pet().voxels, pets[tracer].voxels)
            assert case.study(tracer).pet.geometry.same_grid(GRIDS[tracer])
    with pytest.raises(InputError, match="no threshold for it"):
        Case.from_files(**paths, thresholds={})
