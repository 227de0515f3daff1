import json

import pytest
from builders.cases import memory_case, write_tiny_member

from deeppsma.core.settings import resources_folder
from deeppsma.models.store import WeightsStore
from deeppsma.pipeline.recipe import Recipe
from deeppsma.pipeline.run_report import REPORT_VERSION, RunReport, json_schema
from deeppsma.pipeline.segment import segment


@pytest.fixture
def report(tmp_path):
    write_tiny_member(tmp_path / "m", seed=3)
    return segment(memory_case(), Recipe("r", ("m",), "single"), WeightsStore((tmp_path,)), "cpu").report


def test_a_report_survives_json(report):
    content = json.loads(json.dumps(report.as_dict()))
    assert content["report_version"] == REPORT_VERSION
    assert content["findings"]["psma"]["volume_ml"] > 0
    assert content["inputs"]["fdg"]["pet"]["spacing_zyx_mm"] == [2.5, 3.0, 3.0]
    again = RunReport.from_dict(content)
    assert json.loads(json.dumps(again.as_dict())) == content
    assert again.members[0].name == "m"


@pytest.mark.parametrize("content", [{}, [], {"report_version": 1}])
def test_a_report_of_another_version_is_refused(content):
    with pytest.raises(ValueError, match="a run report of version"):
        RunReport.from_dict(content)


def test_a_report_with_a_wrong_type_names_the_key(report):
    content = report.as_dict()
    content["findings"]["psma"]["volume_ml"] = "much"
    with pytest.raises(ValueError, match=r"findings.*volume_ml|findings\[\.\.\.\]"):
        RunReport.from_dict(content)


def test_the_published_schema_is_the_reports():
    path = resources_folder() / "schemas/run_report.schema.json"
    assert json.loads(path.read_text()) == json_schema(), "make it again: python -m deeppsma.pipeline.run_report"
