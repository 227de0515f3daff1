"""Public repositories of networks: found, imported, refused."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch

from benchmarks.gtrc_stand_in import TRAINER, plans_like_gtrc, write_clone, write_model_folder
from deeppsma.core.errors import ConfigurationError, OutputError, WeightsError
from deeppsma.core.tracer import Tracer
from deeppsma.models.import_repository import import_repository
from deeppsma.models.repositories import Repository, find_consensus, read_published_consensus
from deeppsma.models.store import WeightsStore

PATCH = (32, 16, 16)
LESIONTRACER = "autoPET3_Trainer__nnUNetResEncUNetLPlansMultiTalent__3d_fullres"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clones")
    return write_clone(folder / "GTRC-Net-Pretrained", features=2, folds=2, patch=PATCH)


@pytest.fixture
def clone(made, tmp_path):
    return shutil.copytree(made, tmp_path / "GTRC-Net-Pretrained")


def results(clone):
    return clone / "data/nnUNet_data/results"


def write_lesiontracer(folder):
    plans = plans_like_gtrc("Dataset200_autoPET3_lesions", 2, PATCH)
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization", "CTNormalization"]
    organs = {"decoder.organ_seg_layers.0.weight": torch.zeros(11, 2, 1, 1, 1)}
    write_model_folder(folder / LESIONTRACER, plans, ("CT", "PET"), ("background", "lesion"), 1, more=organs)
    return folder / LESIONTRACER


def test_a_clone_is_looked_through(clone):
    found = Repository.of(clone)
    assert list(found.models) == ["gtrc-psma", "gtrc-fdg"]
    assert found.models["gtrc-fdg"] == results(clone) / f"Dataset882_FDG_PET/{TRAINER}"
    assert set(found.consensus) == set(Tracer)
    assert found.left_out == (f"Dataset883_LUPSMA_SPECT/{TRAINER} is for SPECT: left out, only PET is segmented here",)


def test_the_other_repository_has_other_numbers_and_no_spect(tmp_path):
    clone = write_clone(tmp_path / "GTRC-Net-DEEP-PSMA", 801, features=2, folds=1, patch=PATCH, spect=False)
    found = Repository.of(clone)
    assert {name: place.parent.name for name, place in found.models.items()} == {
        "gtrc-psma": "Dataset801_PSMA_PET",
        "gtrc-fdg": "Dataset802_FDG_PET",
    }
    assert not found.left_out


def test_a_results_tree_keeps_its_names(clone):
    names = list(Repository.of(results(clone)).models)
    assert names == [f"Dataset881_PSMA_PET/{TRAINER}", f"Dataset882_FDG_PET/{TRAINER}"]


def test_imported_and_as_it_is_a_clone_gives_the_same_networks(clone, tmp_path):
    imported = import_repository(clone, tmp_path / "own", mirrored=True)
    assert [path.name for path in imported.members] == [
        "gtrc-consensus-fdg",
        "gtrc-consensus-psma",
        "gtrc-fdg",
        "gtrc-psma",
    ]
    assert imported.notes == Repository.of(clone).left_out
    raw, own = WeightsStore.default(clone), WeightsStore.default(tmp_path / "own")
    features = np.random.default_rng(0).normal(0, 20, (200, 6))
    for tracer in Tracer:
        one, other = raw.member(f"gtrc-{tracer}"), own.member(f"gtrc-{tracer}")
        assert one.network.tracer is other.network.tracer is tracer
        assert (one.network.channels, one.network.disease, one.network.normal) == (("ratio", "ct"), 1, 2)
        assert (one.network.mirrored, other.network.mirrored) == (False, True)
        assert "GTRC-Net, Dataset88" in one.trained_on
        assert one.trained_on == other.trained_on
        for key, tensor in one.load().state_dict().items():
            assert torch.equal(tensor, other.load().state_dict()[key])
        votes = [store.consensus(tracer).votes(features) for store in (raw, own)]
        assert np.array_equal(*votes)
        assert list(raw.consensus(tracer).networks) == ["0", "1"]
    with pytest.raises(ConfigurationError, match="is there already"):
        import_repository(clone, tmp_path / "own")


def test_lesiontracer_is_a_member_for_each_tracer(tmp_path):
    folder = write_lesiontracer(tmp_path)
    imported = import_repository(folder, tmp_path / "own")
    assert [path.name for path in imported.members] == ["lesiontracer-fdg", "lesiontracer-psma"]
    for store in (WeightsStore.default(folder), WeightsStore.default(tmp_path / "own")):
        for tracer in Tracer:
            network = store.member(f"lesiontracer-{tracer}").network
            assert (network.tracer, network.channels) == (tracer, ("ct", "suv"))
            assert (network.disease, network.normal) == (1, -1)
            store.member(f"lesiontracer-{tracer}").load()


def test_both_lie_in_one_folder(clone, tmp_path):
    import_repository(clone, tmp_path / "own")
    import_repository(write_lesiontracer(tmp_path), tmp_path / "own")
    assert len(WeightsStore.default(tmp_path / "own").names()) >= 4


def test_without_consensus_networks_an_import_says_so(clone, tmp_path):
    shutil.rmtree(clone / "data/FDG")
    imported = import_repository(clone, tmp_path / "own")
    assert imported.notes[-1] == "no consensus networks for FDG: choose recipe gtrc_quick"
    assert find_consensus(tmp_path / "own", Tracer.FDG) is None
    with pytest.raises(WeightsError, match=r"no consensus networks for FDG there; .*gtrc_quick"):
        WeightsStore.default(tmp_path / "own").consensus(Tracer.FDG)


def pointer(clone):
    path = results(clone) / f"Dataset882_FDG_PET/{TRAINER}/fold_1/checkpoint_final.pth"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def swapped(clone):
    a, b = (results(clone) / name for name in ("Dataset881_PSMA_PET", "Dataset882_FDG_PET"))
    a.rename(clone / "x")
    b.rename(a)
    (clone / "x").rename(b)


def without_checkpoint(clone):
    (results(clone) / f"Dataset882_FDG_PET/{TRAINER}/fold_1/checkpoint_final.pth").unlink()


def other_plans(clone):
    path = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}/fold_1/checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    plans = plans_like_gtrc("Dataset881_PSMA_PET", 2, (64, 16, 16))
    torch.save(content | {"init_args": {"configuration": "3d_fullres", "plans": plans}}, path)


def without_a_fold(clone):
    shutil.rmtree(results(clone) / f"Dataset882_FDG_PET/{TRAINER}/fold_0")


def without_a_voter(clone):
    shutil.rmtree(clone / "data/FDG/subregion_metrics/fold_0")


def of_other_shapes(clone):
    path = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}/fold_1/checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    key = next(key for key in content["network_weights"] if key.endswith("conv.weight"))
    content["network_weights"][key] = content["network_weights"][key][:1]
    torch.save(content, path)


def not_numbers(clone):
    path = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}/fold_1/checkpoint_final.pth"
    content = torch.load(path, weights_only=True)
    next(iter(content["network_weights"].values())).view(-1)[0] = float("nan")
    torch.save(content, path)


def packed(clone):
    path = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}/fold_1/checkpoint_final.pth"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
        archive.writestr("archive/data/bomb", bytes(10**7))


def voter_with_code(clone):
    edit_config(clone, lambda layers: layers[1].update(class_name="Lambda"))


def voter_of_other_layers(clone):
    edit_config(clone, lambda layers: layers[1].update(class_name="Conv1D"))


def edit_config(clone, edit):
    path = clone / "data/PSMA/subregion_metrics/fold_0/consensus_model.keras"
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    edit(config["config"]["layers"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"config.json": json.dumps(config).encode()}).items():
            archive.writestr(name, content)


def without_keras(clone):
    (clone / "data/PSMA/subregion_metrics/fold_0/consensus_model.keras").unlink()


def empty(clone):
    shutil.rmtree(clone / "data")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (pointer, r"checkpoint_final\.pth: is a Git LFS pointer, the weights are not there; run git lfs pull"),
        (swapped, "lies in Dataset881_PSMA_PET, and its plans are of Dataset882_FDG_PET; the folders were swapped"),
        (without_checkpoint, r"fold_1: no checkpoint_final\.pth there"),
        (other_plans, "trained by other plans than the folder's"),
        (without_keras, r"fold_0: no consensus_model\.keras there"),
        (without_a_fold, "no fold_0 there, but folds 1; copy it, or import with --folds 1"),
        (without_a_voter, "no fold_0 there, but folds 1; clone the repository again"),
        (of_other_shapes, r"fold_1/checkpoint_final\.pth: "),
        (not_numbers, r"fold_1/checkpoint_final\.pth: .*finite weights in encoder"),
        (packed, "its parts are compressed, as torch never writes them; do not trust"),
        (voter_with_code, "a layer 'Lambda', known are InputLayer, Dense, Dropout"),
        (voter_of_other_layers, "a layer 'Conv1D', known are"),
        (empty, "no model of nnU-Net there"),
    ],
)
def test_a_clone_that_cannot_be_used_makes_nothing(clone, tmp_path, spoil, message):
    spoil(clone)
    with pytest.raises(WeightsError, match=message) as raised:
        import_repository(clone, tmp_path / "own")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "own").exists() or not list((tmp_path / "own").iterdir())


@pytest.mark.parametrize("whole_clone", [True, False])
def test_plans_without_weights_say_what_is_missing(clone, tmp_path, whole_clone):
    for fold in list(clone.rglob("fold_*")):
        if "results" in str(fold):
            shutil.rmtree(fold)
    source = clone if whole_clone else results(clone) / "Dataset881_PSMA_PET"
    place = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}"
    message = rf"^{place}: plans\.json without weights: no fold_\*/checkpoint_final\.pth beside it; copy or download"
    with pytest.raises(WeightsError, match=message):
        import_repository(source, tmp_path / "own")
    with pytest.raises(WeightsError, match=message):
        WeightsStore.default(source)


def test_a_model_for_another_tracer_is_refused(clone, tmp_path):
    from deeppsma.models.config import load_network
    from deeppsma.models.nnunet.importer import ImportRequest, import_weights

    source = results(clone) / f"Dataset882_FDG_PET/{TRAINER}"
    with pytest.raises(WeightsError, match=r"a model for FDG scans .*not one for PSMA"):
        import_weights(ImportRequest(source, tmp_path / "own", "psma"), load_network("cds"))


def test_a_folder_without_networks_has_no_consensus(tmp_path):
    (tmp_path / "fold_x").mkdir()
    with pytest.raises(WeightsError, match=r"fold_x: no consensus_model\.keras"):
        read_published_consensus(tmp_path, Tracer.PSMA)
    (tmp_path / "fold_x").rmdir()
    with pytest.raises(WeightsError, match=r"no fold_\*/consensus_model\.keras there"):
        read_published_consensus(tmp_path, Tracer.PSMA)


def test_an_output_that_cannot_be_written(clone, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        import_repository(clone, tmp_path / "file/own")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deeppsma.models.import_repository.write_member", full)
    with pytest.raises(OutputError, match=r"No space left on device\); make room"):
        import_repository(clone, tmp_path / "own")
    assert not list((tmp_path / "own").iterdir())


def test_two_models_for_one_tracer_keep_two_names(clone):
    one = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}"
    shutil.copytree(one, one.with_name("nnUNetTrainer__other__3d_fullres"))
    assert (
        set(Repository.of(clone).models)
        == {
            "gtrc-psma",
            "gtrc-fdg",
            "Dataset881_PSMA_PET/nnUNetTrainer__other__3d_fullres",
        }
        or f"Dataset881_PSMA_PET/{TRAINER}" in Repository.of(clone).models
    )


def test_what_the_data_set_says_is_told(clone):
    path = results(clone) / f"Dataset881_PSMA_PET/{TRAINER}/dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"numTraining": 602}))
    told = WeightsStore.default(clone).member("gtrc-psma").trained_on
    assert told == "602 scans, as its data set says; GTRC-Net, Dataset881_PSMA_PET"


@pytest.mark.parametrize("mirrored", [False, True])
def test_mirroring_is_asked_for_on_the_command_line(clone, tmp_path, mirrored):
    from deeppsma.cli.commands import main
    from deeppsma.models.weights import read_member

    source = results(clone) / f"Dataset882_FDG_PET/{TRAINER}"
    flag = ["--mirror"] if mirrored else []
    assert main(["weights", "import", str(source), str(tmp_path / "one/fdg"), "--tracer", "fdg", *flag]) == 0
    assert main(["weights", "import", str(clone), str(tmp_path / "all"), *flag]) == 0
    for place in (tmp_path / "one/fdg", tmp_path / "all/gtrc-fdg"):
        assert read_member(place).network.mirrored is mirrored
