import json
import sys

import numpy as np
import pytest
from builders.cases import THRESHOLDS, write_tiny_member, write_train_case

from deeppsma.cli.commands import main
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.models.weights import read_member
from deeppsma.postprocessing.second_opinion.decide import Role
from deeppsma.postprocessing.second_opinion.store import load_second_opinions
from deeppsma.training import fit_second_opinion, train_second_opinion
from deeppsma.training.focus_samples import load_focus_samples

pytest.importorskip("lightgbm")


def half_of_it_disease(folder):
    """Truth: every hot voxel on one side of the patient."""
    for tracer, threshold_suv in THRESHOLDS.items():
        pet = ImageFile(folder / tracer.upper() / "PET.nii.gz").read()
        truth = (pet.voxels >= threshold_suv).astype(np.uint8)
        truth[:, :, truth.shape[2] // 2 :] = 0
        write_image(Volume(truth, pet.geometry), folder / tracer.upper() / "TTB.nii.gz")


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    monkeypatch.setattr(fit_second_opinion, "_LEAST_FOCI", 2)
    small = tuple({**each, "rounds": 3} for each in fit_second_opinion.FORESTS)
    monkeypatch.setattr(fit_second_opinion, "FORESTS", small)
    for number in range(4):
        half_of_it_disease(write_train_case(tmp_path / f"cohort/train_{number:04d}"))
    write_tiny_member(tmp_path / "weights/cds-compact", seed=5)
    return tmp_path / "cohort"


def train(cohort, tmp_path, *more):
    weights = str(tmp_path / "weights")
    words = ["train-second-opinion", str(cohort), str(tmp_path / "out"), "--weights", weights, "--folds", "2"]
    return main([*words, "--device", "cpu", *more])


def test_a_cohort_gives_models_that_a_recipe_can_name(cohort, tmp_path, capsys):
    assert train(cohort, tmp_path, "--describe", "four cases", "--ablations") == 0
    said = capsys.readouterr().out
    assert "## FDG: " in said
    assert "| best that foci allow |" in said
    assert "| without | DSC mean |" in said
    assert "| witness |" in said
    out = tmp_path / "out"
    models = load_second_opinions(str(out))
    assert models.trained_on == "four cases"
    card = json.loads((out / "card.json").read_text())
    assert card["patients"] == 4
    assert card["tracers"]["fdg"]["figures"]["network"]["lesions"] > 0
    assert (out / "second_opinion.md").read_text() in said
    assert (out / "reliability.png").stat().st_size > 1000
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'members = ["cds-compact"]\nfusion = "mean"\nsecond_opinion = "{out}"\n')
    case, result = str(cohort / "train_0000"), tmp_path / "result"
    weights = str(tmp_path / "weights")
    words = ["segment", case, str(result), "--recipe", str(recipe), "--weights", weights, "--device", "cpu"]
    assert main(words) == 0
    assert json.loads((result / "run_report.json").read_text())["foci"]


def test_an_interrupted_run_goes_on(cohort, tmp_path, monkeypatch, capsys):
    assert train(cohort, tmp_path) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(train_second_opinion, "CaseRun", lambda *_: pytest.fail("run through the networks again"))
    assert train(cohort, tmp_path) == 0
    assert capsys.readouterr().out == first


@pytest.mark.parametrize("words", ['fusion = "bothways"', 'fusion = "single"\naverage = "probabilities"'])
def test_any_recipe_can_be_judged(words, cohort, tmp_path, capsys):
    assert train(cohort, tmp_path) == 0
    of_mean = set((tmp_path / "out/foci").iterdir())
    (tmp_path / "other.toml").write_text(f'members = ["cds-compact"]\n{words}\n')
    assert train(cohort, tmp_path, "--recipe", str(tmp_path / "other.toml")) == 0
    assert len(set((tmp_path / "out/foci").iterdir()) - of_mean) == 4  # foci of another recipe are not taken for these
    assert json.loads((tmp_path / "out/card.json").read_text())["recipe"].endswith("other.toml")
    judged = tmp_path / "judged.toml"
    judged.write_text(f'members = ["cds-compact"]\nsecond_opinion = "{tmp_path / "out"}"\n{words}\n')
    case, weights = str(cohort / "train_0000"), str(tmp_path / "weights")
    out = str(tmp_path / "result")
    assert main(["segment", case, out, "--recipe", str(judged), "--weights", weights, "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "result/run_report.json").read_text())
    assert report["foci"]["fdg"]
    assert not any("other weights" in line for line in report["fallbacks"])
    capsys.readouterr()


def test_trees_for_cases_without_organ_maps_see_none(cohort, tmp_path, capsys):
    write_tiny_member(tmp_path / "weights/cds-compact/without-organ-maps", seed=6)
    assert train(cohort, tmp_path) == 0
    with_maps = json.loads((tmp_path / "out/card.json").read_text())
    assert train(cohort, tmp_path, "--without-maps") == 0
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert [each["without_organ_maps"] for each in (with_maps, card)] == [False, True]
    assert card["trained_on"] == "4 patients of cohort, without their organ maps"
    stand_in = read_member(tmp_path / "weights/cds-compact").stand_in()
    assert card["of_weights"] == [stand_in.sha256] != with_maps["of_weights"]
    for path in (tmp_path / "out/foci").iterdir():
        for sample in load_focus_samples(path).values():
            organ = sample.features[:, list(sample.names).index("organ.bone")]
            assert np.isnan(organ).all() == path.name.endswith(".no-maps.npz")
    assert len(list((tmp_path / "out/foci").iterdir())) == 8
    capsys.readouterr()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--keep-lesions", "0"), "--keep-lesions"),
        (("--folds", "1"), "--folds"),
        (("--folds", "3"), "4 patients; give 6 or more"),
        (("--recipe", "second_opinion"), "is judged already"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(cohort, tmp_path, more, words, capsys):
    assert train(cohort, tmp_path, *more) != 0
    assert words in capsys.readouterr().err


def test_a_cohort_without_uptake_is_one_line(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(train_second_opinion, "load_focus_samples", lambda _: {})
    assert train(cohort, tmp_path) != 0
    assert "voxel above a threshold" in capsys.readouterr().err


def test_without_a_painter_the_diagram_is_left_out(cohort, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert train(cohort, tmp_path) == 0
    assert "no reliability diagram" in capsys.readouterr().err
    assert not (tmp_path / "out/reliability.png").exists()


def test_a_tracer_has_one_role(cohort, tmp_path, capsys):
    assert train(cohort, tmp_path, "--decides", "psma", "fdg", "--removes", "psma") == 5
    assert "--decides and --removes psma: give each tracer once" in capsys.readouterr().err
    request = train_second_opinion.SecondOpinionRequest(cohort, tmp_path, decides=("fdg",), removes=())
    assert [request.role(tracer) for tracer in Tracer] == [Role.SAYS, Role.DECIDES]


def test_a_tracer_whose_every_offset_loses_too_much_does_not_decide(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_second_opinion, "choose_offset", lambda *_: None)
    assert train(cohort, tmp_path) == 0
    models = load_second_opinions(str(tmp_path / "out")).models
    assert {model.role for model in models.values()} == {Role.SAYS}
    assert np.isfinite([model.offset for model in models.values()]).all()
