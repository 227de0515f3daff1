from builders.results import TYPICAL, result

from deeppsma.core.tracer import Tracer
from deeppsma.reporting.case_result import CaseResult
from deeppsma.reporting.content import report_content
from deeppsma.reporting.html import report_html
from deeppsma.reporting.methods import acquisition


def made(suv):
    case = result(TYPICAL)
    report = {**case.run_report, "inputs": {"psma": {"suv": suv}}}
    return report_content(CaseResult(case.name, case.scans, case.fdg_to_psma, report))


def test_what_was_injected_is_said_or_said_to_be_unknown():
    dicom = made({"nuclide": "Ga-68", "dose_mbq": 151.4, "uptake_min": 61.8})
    assert acquisition(dicom, Tracer.PSMA) == "Ga-68, 151 MBq, 62 min"
    assert acquisition(dicom, Tracer.FDG) == "not in the input"
    assert acquisition(made({"nuclide": "", "dose_mbq": None, "uptake_min": 61.8}), Tracer.PSMA) == "62 min"
    assert acquisition(made(None), Tracer.PSMA) == "not in the input"
    assert "<dd>Ga-68, 151 MBq, 62 min</dd>" in report_html(dicom)
