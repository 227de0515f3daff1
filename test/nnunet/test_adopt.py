"""nnU-Net's results folder, given as --weights."""

import shutil

import numpy as np
import pytest

from deeppsma.case import load_case
from deeppsma.cli import main
from deeppsma.errors import ConfigurationError, WeightsError
from deeppsma.nnunet.adopt import adopt_model, find_models
from deeppsma.nnunet.importer import ImportRequest, import_weights
from deeppsma.recipe import load_recipe
from deeppsma.segment import segment
from deeppsma.store import WeightsStore
from deeppsma.tracer import Tracer
from test.conftest import TINY_NETWORK
from test.nnunet.folders import write_model

TRAINER = "nnUNetTrainer__nnUNetPlans__3d_fullres"
PET_AND_CT = {"0": "PET", "1": "CT"}


@pytest.fixture
def results(tmp_path):
    for dataset in ("Dataset801_PSMA", "Dataset802_FDG"):
        write_model(tmp_path / f"results/{dataset}/{TRAINER}", folds=("0", "1"), channels=PET_AND_CT)
    return tmp_path / "results"


def test_models_are_found_at_every_depth(results):
    names = [f"Dataset801_PSMA/{TRAINER}", f"Dataset802_FDG/{TRAINER}"]
    assert sorted(find_models(results)) == names
    assert list(find_models(results / "Dataset801_PSMA")) == [TRAINER]
    assert list(find_models(results / names[0])) == [TRAINER]
    (results / names[0] / "dataset.json").unlink()
    assert list(find_models(results)) == names[1:]


def test_a_results_folder_segments_as_its_imported_members_do(results, platform_case, tmp_path):
    recipe = load_recipe("nnunet")
    raw = segment(load_case(platform_case), recipe, WeightsStore.default(results), "cpu")
    for tracer in Tracer:
        source = next(results.glob(f"*{tracer.upper()}/{TRAINER}"))
        import_weights(ImportRequest(source, tmp_path / f"own/nn-{tracer}", tracer.value), TINY_NETWORK)
    own = segment(load_case(platform_case), recipe, WeightsStore.default(tmp_path / "own"), "cpu")
    for tracer in Tracer:
        assert np.array_equal(raw.masks[tracer].voxels, own.masks[tracer].voxels)
    assert [each["name"] for each in raw.report["members"]] == sorted(find_models(results))
    assert "unknown data" in raw.report["notice"]


def test_from_the_command_line(results, platform_case, tmp_path, capsys):
    arguments = ["segment", str(platform_case), str(tmp_path / "out"), "--weights", str(results), "--device", "cpu"]
    assert main([*arguments, "--recipe", "nnunet"]) == 0
    assert main(arguments) != 0
    assert "'nnunet' for models of nnU-Net" in capsys.readouterr().err.splitlines()[-1]
    assert main(["recipes", "--weights", str(results)]) == 0
    assert "Dataset802_FDG" in capsys.readouterr().out


def test_a_model_that_does_not_say_whose_scans_it_sees(results):
    source = write_model(results / "Dataset803_both/model", channels=PET_AND_CT)
    with pytest.raises(ConfigurationError, match=r"may see PSMA or FDG scans.*--tracer"):
        adopt_model("Dataset803_both/model", source)


def test_a_model_that_does_not_say_what_it_is_fed(tmp_path):
    with pytest.raises(ConfigurationError, match=r"fed PET, CT, bones.*--channels"):
        adopt_model("fdg", write_model(tmp_path / "fdg"))


def test_checkpoints_that_change_between_two_looks(results):
    member = WeightsStore.default(results).member(f"Dataset802_FDG/{TRAINER}")
    member.load()
    shutil.copy(member.folder / "fold_0/checkpoint_final.pth", member.folder / "fold_1/checkpoint_final.pth")
    with pytest.raises(WeightsError, match="SHA-256"):
        member.load()
    (member.folder / "fold_1/checkpoint_final.pth").unlink()
    with pytest.raises(WeightsError, match="not readable"):
        member.load()
