"""What README and the documentation show runs, and what they link to is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from builders.cases import write_platform_case

from deeppsma.cli import commands
from deeppsma.cli.commands import main

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "hospital/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
#: Commands whose work takes minutes, or needs what a test has to make first: the tests that run them.
ELSEWHERE = {
    "phantom": "phantom/test_write_cohort.py",
    "survey": "evaluation/test_survey.py",
    "train": "training/test_training.py",
    "crossval": "evaluation/test_cross_validation.py",
    "experiments": "evaluation/test_experiments.py",
    "train-refinement": "training/test_fit_lesion_classifier.py",
    "train-second-opinion": "training/test_train_second_opinion.py",
    "weights import": "models/test_repositories.py",
    "weights average": "training/test_average.py",
    "apply-review": "reporting/test_review.py",
    "compare": "reporting/test_compare.py",
    "serve": "operation/test_serve.py",
    "node": "operation/node/test_engine.py",
    "cohort": "operation/cohort/test_run.py",
    "cohort-tables": "operation/cohort/test_tables.py",
    "cohort-bids": "operation/cohort/test_bids.py",
}


def shown(page: Path) -> list[str]:
    """Lines of a page's shell blocks, without comments and what may be left out."""
    blocks = re.findall(r"^ *```(?:sh|bash)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    plain = (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines)
    return [re.sub(r"\[[^\]]*\]", "", line).strip() for line in plain if line]


def program_of(line: str) -> list[str] | None:
    """Arguments of the program that a line runs; None if it runs something else."""
    words = shlex.split(line.split("|", maxsplit=1)[0].split(">", maxsplit=1)[0])
    if words[:1] == ["torchrun"] or words[:3] == ["python", "-m", "deeppsma"]:
        return words[words.index("deeppsma") + 1 :]
    return words[1:] if words[:1] == ["deeppsma"] else None


PROGRAMS = sorted({(page.name, line) for page in PAGES for line in shown(page) if program_of(line)})


def test_there_are_commands():
    assert len(PROGRAMS) > 30


@pytest.mark.parametrize(("page", "line"), PROGRAMS)
def test_a_command_that_is_shown_is_one(page, line):
    commands.build_parser().parse_args(program_of(line))  # exits with 2 if not


@pytest.mark.parametrize(("page", "line"), PROGRAMS)
def test_a_command_that_is_shown_runs(page, line, tmp_path, monkeypatch, tiny_weights, capsys):
    arguments = program_of(line)
    for name, tests in ELSEWHERE.items():
        if " ".join(arguments).startswith(name + " ") or " ".join(arguments) == name:
            assert (ROOT / "test" / tests).exists()
            return
    if any(option in arguments for option in ("own", "nnUNet_results", "GTRC-Net-Pretrained", "own.toml")):
        return  # weights of others: test/models/test_repositories.py
    if "deadline" in line:
        return  # starts a process of its own: test/operation/test_deadline.py
    case = write_platform_case(tmp_path / "case_9011/input")
    for trained in ("run", "try"):
        shutil.copytree(tiny_weights, tmp_path / trained)
    monkeypatch.chdir(tmp_path)
    stored = ["report", "score"]
    if arguments[0] in stored:
        assert main(["segment", str(case), "OUT", "--weights", str(tiny_weights), "--recipe", "single"]) == 0
    given = [_stand_in(word, case) for word in arguments]
    if arguments[0] == "segment" and "--weights" not in arguments:
        given += ["--weights", str(tiny_weights)]
    if arguments[0] == "segment" and "--recipe" not in arguments:
        given += ["--recipe", "single"]
    if arguments[:2] == ["dicom", "inspect"]:
        from builders.dicom_files import write_pet

        write_pet(tmp_path / "case_9011/input/pet")
    if arguments[0] == "score":
        pytest.skip("needs a truth: test/evaluation/test_scoring.py")
    assert main(given) == 0, capsys.readouterr().err


def _stand_in(word: str, case: Path) -> str:
    places = {"CASE", "STUDIES", "FOLDER", "DICOM_FOLDER", "DATA/train_0001", "$STUDIES"}
    if word in places or word.endswith("/input"):
        return str(case)
    return "OUT" if word.endswith("result") else word


def test_scripts_and_benchmarks_that_are_shown_are_there():
    for page in PAGES:
        for line in shown(page):
            for script in re.findall(r"(?:^|\s)\./([\w./-]+\.sh)", line):
                assert (ROOT / script).is_file(), f"{page.name}: {script}"
            for module in re.findall(r"python -m (benchmarks[\w.]*)", line):
                place = ROOT / module.replace(".", "/")
                assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), f"{page.name}: {module}"


def test_links_lead_somewhere():
    made = {"tutorial.md", "command-line.md"}  # by docs/site/hooks.py
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            if re.match(r"[a-z]+:", target) or Path(path).name in made:
                continue
            place = page if not path else (page.parent / path).resolve()
            assert place.exists(), f"{page.name}: {target}"
            if anchor and place.suffix == ".md":
                assert anchor in _anchors(place), f"{page.name}: {target}"


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_tutorial_runs(tmp_path, monkeypatch, tiny_weights):
    """On a tiny patient, cell by cell, with networks that say something of him."""
    write_platform_case(tmp_path / "demo/case_9011/input")
    cells = json.loads((ROOT / "docs/tutorial.ipynb").read_text(encoding="utf-8"))["cells"]
    assert not any(cell.get("outputs") for cell in cells), "the notebook is kept without outputs"
    program = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (tmp_path / "tutorial.py").write_text(program, encoding="utf-8")
    ran = subprocess.run([sys.executable, "tutorial.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "kB of HTML" in ran.stdout
