"""Which cases a cohort has, and what may be asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.operation.cohort.plan import CohortRequest, CohortSettings, find_cases, written


def test_every_visible_folder_is_a_case(tmp_path):
    for name in ("b/input", "a/PSMA", ".hidden", "c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes.txt").write_text("")
    assert {case.name: case.folder.name for case in find_cases(tmp_path)} == {"a": "a", "b": "input", "c": "c"}


def test_names_that_no_table_can_hold_are_written_otherwise(tmp_path):
    (tmp_path / "a\nb").mkdir()
    assert [case.name for case in find_cases(tmp_path)] == ["a%ab"]
    assert written("M\udce9ller é") == "M%dce9ller é"
    (tmp_path / "a%ab").mkdir()
    with pytest.raises(ConfigurationError, match="two cases that are written a%ab"):
        find_cases(tmp_path)


def test_no_case_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no folders of cases"):
        find_cases(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"out": "cohort/out"}, "lie in one another"),
        ({"cohort": "out/cohort"}, "lie in one another"),
        ({"workers": 0}, "1 or more"),
        ({"tries": 0}, "1 or more"),
        ({"case_deadline": 0.0}, "above 0"),
        ({"scheduler": "tcp://x:1", "workers": 2}, "leave --workers out"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, line):
    with pytest.raises(ValueError, match=line):
        CohortRequest(**{"cohort": Path("cohort"), "out": Path("out")} | {k: _path(v) for k, v in settings.items()})


def test_settings_are_checked():
    with pytest.raises(ValueError, match="device"):
        CohortSettings(device="tpu")
    with pytest.raises(ValueError, match="psma_threshold"):
        CohortSettings(psma_threshold=0.0)


def _path(value):
    return Path(value) if isinstance(value, str) and ":" not in value else value
