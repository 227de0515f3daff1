import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from builders.patients import small_patient
from PIL import Image

from deeppsma.cli.commands import main
from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.evaluation.metrics import Scores
from deeppsma.evaluation.scoring import csv_table, rank, rank_table, score_result, summary, summary_table
from deeppsma.io.cohort import load_labelled, truth_case
from deeppsma.io.image_files import write_image
from deeppsma.io.result_folder import mask_path
from deeppsma.phantom.write_cohort import write_patient


def scores(dsc, **more):
    return replace(Scores(dsc, dsc, 0.0, 0.0, 0.0, 0.0, 3, 2, 1), **more)


def method(*dsc, **more):
    return {tracer: [scores(d, **more) for d in dsc] for tracer in Tracer}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two cases, and two methods: the truth itself, and nothing."""
    folder = tmp_path_factory.mktemp("scored")
    for seed, layout in ((3, "platform"), (4, "train")):
        patient, name = small_patient(seed), f"case_{seed}"
        write_patient(patient, folder / "cohort" / name, layout)
        for tracer in Tracer:
            pet = patient.sessions[tracer].pet
            for result, voxels in (("perfect", pet.truth), ("nothing", np.zeros_like(pet.truth))):
                path = mask_path(folder / result / name, tracer)
                path.parent.mkdir(parents=True)
                write_image(Volume(voxels.astype(np.uint8), pet.geometry), path)
    return folder


def test_the_truth_is_perfect_and_nothing_finds_nothing(cohort):
    labelled = load_labelled(cohort / "cohort/case_3")
    for tracer in Tracer:
        perfect = score_result(cohort / "perfect/case_3", labelled)[tracer]
        assert (perfect.dsc, perfect.surface_dsc, perfect.fpv_ml, perfect.fnv_ml) == (1, 1, 0, 0)
        assert perfect.volume_error_percent == perfect.suv_mean_error_percent == 0
        assert perfect.lesions == perfect.lesions_found
        nothing = score_result(cohort / "nothing/case_3", labelled)[tracer]
        truth = small_patient(3).sessions[tracer].pet.truth
        assert nothing.fnv_ml == pytest.approx(truth.sum() * 0.512)


def test_a_result_of_another_case_is_refused(cohort):
    with pytest.raises(InputError, match="not on the truth's grid"):
        score_result(cohort / "perfect/case_4", load_labelled(cohort / "cohort/case_3"))


def test_a_cohort_is_scored_and_methods_are_ranked(cohort, tmp_path, capsys):
    arguments = ["score", str(cohort / "nothing"), str(cohort / "perfect"), str(cohort / "cohort")]
    assert main([*arguments, "--csv", str(tmp_path / "all.csv")]) == 0
    out = capsys.readouterr().out
    assert "perfect | PSMA | 1.000 (1.000 to 1.000)" in out
    assert out.index("| mean rank |") < out.rindex("perfect") < out.rindex("nothing")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "all.csv").read_text())))
    assert len(rows) == 2 * 2 * 2
    assert {row["dsc"] for row in rows if row["method"].endswith("perfect")} == {"1"}


def test_the_same_result_twice_is_one_method(cohort, capsys):
    result = str(cohort / "perfect/case_3")
    assert main(["score", result, result, str(cohort / "cohort/case_3")]) == 0
    assert capsys.readouterr().out.count("PSMA: DSC 1.000") == 1


def test_one_case_is_scored_by_any_of_its_folders(cohort, capsys):
    for truth in ("case_3", "case_3/truth"):
        assert main(["score", str(cohort / "perfect/case_3"), str(cohort / "cohort" / truth)]) == 0
        assert "PSMA: DSC 1.000" in capsys.readouterr().out
    assert truth_case(cohort / "cohort/case_4") == cohort / "cohort/case_4"
    assert truth_case(cohort / "cohort/case_3/input") is None
    assert truth_case(cohort / "cohort") is None


def test_agreement_is_drawn_in_green_and_what_is_missed_in_cyan(cohort, tmp_path):
    def colours(result):
        picture = tmp_path / "agreement.png"
        folder = cohort / result / "case_3"
        assert main(["score", str(folder), str(cohort / "cohort/case_3"), "--picture", str(picture)]) == 0
        pixels = np.asarray(Image.open(picture)).reshape(-1, 3)
        return {tuple(c) for c in np.unique(pixels, axis=0).tolist()}

    green, cyan, magenta = (20, 160, 40), (0, 185, 215), (225, 0, 200)
    perfect, nothing = colours("perfect"), colours("nothing")
    assert green in perfect
    assert not {cyan, magenta} & perfect
    assert cyan in nothing
    assert not {green, magenta} & nothing


def test_a_picture_shows_one_case(cohort, tmp_path, capsys):
    arguments = ["score", str(cohort / "perfect"), str(cohort / "cohort"), "--picture", str(tmp_path / "x.png")]
    assert main(arguments) != 0
    assert "give one result" in capsys.readouterr().err


def test_a_summary_by_hand():
    same = summary([0.5, 0.5, 0.5])
    assert (same.mean, same.low, same.high, same.median) == (0.5, 0.5, 0.5, 0.5)
    spread = summary([0.0, 1.0] * 50)
    assert spread.mean == spread.median == 0.5
    assert spread.low == pytest.approx(0.4, abs=0.02)  # 1.96 * 0.5 / sqrt(100)
    assert spread.high == pytest.approx(0.6, abs=0.02)
    assert summary([0.1, 0.9, 0.3]) == summary([0.1, 0.9, 0.3])
    with pytest.raises(ValueError, match="no cases"):
        summary([])


def test_ranks_by_hand():
    better, worse = method(0.9, 0.8), method(0.5, 0.4, volume_error_percent=-20.0)
    first, second = rank({"worse": worse, "better": better})
    assert (first.method, second.method) == ("better", "worse")
    assert len(first.ranks) == 12
    # Better in DSC, surface DSC and size of the volume error; the same in three others: 1, 1, 1 and 1.5 three times.
    assert first.mean_rank == pytest.approx(1.25)
    assert second.mean_rank == pytest.approx(1.75)
    assert "| better | 1.25 | 0.850 |" in rank_table([first, second])


def test_ties_go_to_the_higher_dsc():
    a = method(0.9, fpv_ml=5.0, fnv_ml=5.0)
    b = method(0.8)
    ranked = rank({"b": b, "a": a})
    assert ranked[0].mean_rank == ranked[1].mean_rank
    assert ranked[0].method == "a"


def test_tables_hold_every_score():
    methods = {"m": method(0.9, 0.7)}
    assert "| m | FDG | 0.800 (" in summary_table(methods)
    assert "| 4 of 6 | 1.0 |" in summary_table(methods)
    rows = list(csv.DictReader(io.StringIO(csv_table(methods, ["one", "two"]))))
    assert [row["case"] for row in rows] == ["one", "one", "two", "two"]
    assert float(rows[0]["dsc"]) == 0.9
