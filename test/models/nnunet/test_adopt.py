"""nnU-Net's results folder, given as --weights."""

import shutil

import numpy as np
import pytest
from builders.cases import TINY_NETWORK, write_tiny_member
from builders.nnunet_models import write_model

from deeppsma.cli.commands import main
from deeppsma.core.errors import ConfigurationError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.io.layouts import load_case
from deeppsma.models.nnunet.adopt import adopt_model, find_models, usual_channels
from deeppsma.models.nnunet.importer import ImportRequest, import_weights
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import load_recipe
from deeppsma.pipeline.segment import segment

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
PET_AND_CT = {"0": "PET", "1": "CT"}


@pytest.fixture
def results(tmp_path):
    for dataset in ("Dataset801_PSMA", "Dataset802_FDG"):
        write_model(tmp_path / f"results/{dataset}/{TRAINER}", folds=("0", "1"), channels=PET_AND_CT)
    return tmp_path / "results"


def test_models_are_found_at_every_depth(results):
    names = [f"Dataset801_PSMA/{TRAINER}", f"Dataset802_FDG/{TRAINER}"]
    # nnU-Net leaves copies of plans and data set beside a cross-validation's results: no model.
    beside = results / names[0] / "crossval_results_folds_0_1"
    beside.mkdir()
    for name in ("plans.json", "dataset.json"):
        shutil.copy(results / names[0] / name, beside / name)
    assert sorted(find_models(results)) == names
    assert list(find_models(results / "Dataset801_PSMA")) == [TRAINER]
    assert list(find_models(results / names[0])) == [TRAINER]


def test_a_model_that_is_not_whole_is_not_passed_over(results):
    place = results / f"Dataset801_PSMA/{TRAINER}"
    store = WeightsStore.default(results)
    (place / "fold_1/checkpoint_final.pth").rename(place / "fold_1/checkpoint_latest.pth")
    with pytest.raises(WeightsError, match=r"fold_1: no checkpoint_final\.pth there; finish its training"):
        store.choose(("*",), "probabilities")
    (place / "dataset.json").unlink()
    with pytest.raises(WeightsError, match=r"no dataset\.json there"):
        store.choose(("*",), "probabilities")


def test_a_results_folder_segments_as_its_imported_members_do(results, platform_case, tmp_path):
    recipe = load_recipe("nnunet")
    raw = segment(load_case(platform_case), recipe, WeightsStore.default(results), "cpu")
    for tracer in Tracer:
        source = next(results.glob(f"*{tracer.upper()}/{TRAINER}"))
        import_weights(ImportRequest(source, tmp_path / f"own/nn-{tracer}", tracer.value), TINY_NETWORK)
    own = segment(load_case(platform_case), recipe, WeightsStore.default(tmp_path / "own"), "cpu")
    for tracer in Tracer:
        assert np.array_equal(raw.masks[tracer].voxels, own.masks[tracer].voxels)
    assert [each.name for each in raw.report.members] == sorted(find_models(results))
    assert "unknown data" in raw.report.notice


def test_from_the_command_line(results, platform_case, tmp_path, capsys):
    arguments = ["segment", str(platform_case), str(tmp_path / "out"), "--weights", str(results), "--device", "cpu"]
    assert main([*arguments, "--recipe", "nnunet"]) == 0
    assert main(arguments) != 0
    assert "'nnunet' for models of nnU-Net" in capsys.readouterr().err.splitlines()[-1]
    assert main(["recipes", "--weights", str(results)]) == 0
    assert "Dataset802_FDG" in capsys.readouterr().out


def test_networks_of_another_kind_are_not_averaged_in_silence(results, platform_case):
    write_tiny_member(results / "mine")
    store = WeightsStore.default(results)
    result = segment(load_case(platform_case), load_recipe("nnunet"), store, "cpu")
    assert [each.name for each in result.report.members] == sorted(find_models(results))
    assert "not averaged, because recipe nnunet cannot: mine" in result.report.fallbacks
    # The other kind is not even read.
    (results / f"Dataset801_PSMA/{TRAINER}/plans.json").write_text("{")
    result = segment(load_case(platform_case), load_recipe("ensemble"), store, "cpu")
    assert [each.name for each in result.report.members] == ["mine"]
    assert any(line.endswith(TRAINER) for line in result.report.fallbacks)


def test_models_are_not_averaged_as_logits(results):
    with pytest.raises(WeightsError, match="no network that answers with no classes; choose the recipe 'nnunet'"):
        WeightsStore.default(results).choose(("*",))


def test_one_name_for_two_is_refused(results):
    write_tiny_member(results / f"Dataset801_PSMA/{TRAINER}")
    with pytest.raises(WeightsError, match="two members named"):
        WeightsStore.default(results / "Dataset801_PSMA")


def test_a_model_that_cannot_be_used_does_not_hide_the_others(results, capsys):
    write_model(results / "Dataset004_Hippocampus/model", channels=PET_AND_CT)
    assert main(["recipes", "--weights", str(results)]) == 0
    out = capsys.readouterr().out
    assert "Dataset004_Hippocampus/model: cannot be used" in out
    assert f"Dataset802_FDG/{TRAINER}: PlainConvUNet, ratio, ct" in out


@pytest.mark.parametrize("dataset", ["Dataset803_both", "Dataset803_FDG_PSMA", "Dataset803_DEEP-PSMA"])
def test_a_model_that_does_not_say_whose_scans_it_sees(results, dataset):
    source = write_model(results / f"{dataset}/model", channels=PET_AND_CT)
    with pytest.raises(ConfigurationError, match=r"says PSMA or FDG alone; .*--tracer"):
        adopt_model(f"{dataset}/model", source)


def test_the_challenges_name_is_no_tracer(tmp_path):
    source = write_model(tmp_path / "Dataset803_DEEP-PSMA_FDG/model", channels=PET_AND_CT)
    assert adopt_model("model", source).network.tracer is Tracer.FDG  # its plans name the data set
    assert adopt_model("psma", source).network.tracer is Tracer.PSMA  # its own name comes first


def test_a_model_that_does_not_say_what_it_is_fed(tmp_path):
    with pytest.raises(ConfigurationError, match=r"fed PET, MR, bones.*--channels"):
        adopt_model("fdg", write_model(tmp_path / "fdg", channels={"0": "PET", "1": "MR", "2": "bones"}))


@pytest.mark.parametrize(
    ("names", "kinds"),
    [
        (["PET", "CT"], "ratio ct"),
        (["noNorm", "CT"], "ratio ct"),
        (["SUV_ratio", "ct_hu"], "ratio ct"),
        (["PET", "CT", "sdf_thyroid", "sdf_bones"], "ratio ct sdf-thyroid sdf-bones"),
        (["PET", "CT", "kidneys", "urinary_bladder"], "ratio ct organ-kidney organ-bladder"),
        (["PET", "PET attenuation-corrected"], ""),
        (["PET", "PET/CT"], ""),
        (["SUV", "CT"], ""),
        (["MR", "CT"], ""),
        (["CT", "PET"], ""),
        (["PET", "CT", "MR"], ""),
        (["PET", "CT", "gallbladder"], ""),
        (["PET", "CT", "liver_spleen"], ""),
        (["PET"], ""),
    ],
)
def test_what_a_models_names_say_it_is_fed(names, kinds):
    assert " ".join(usual_channels(names)) == kinds


def test_checkpoints_that_change_between_two_looks(results):
    member = WeightsStore.default(results).member(f"Dataset802_FDG/{TRAINER}")
    member.load()
    shutil.copy(member.folder / "fold_0/checkpoint_final.pth", member.folder / "fold_1/checkpoint_final.pth")
    with pytest.raises(WeightsError, match="changed while it was in use"):
        member.load()
    (member.folder / "fold_1/checkpoint_final.pth").unlink()
    with pytest.raises(WeightsError, match="not readable"):
        member.load()
