"""Which tracer: codes in old and new schemes, text, contradictions, overrides."""

from __future__ import annotations

from pathlib import Path

import pytest
from builders.dicom_files import as_psma, code, edited, injected, injection_edited, pet_slice
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.sr.codedict import codes

from deeppsma.core.errors import ConfigurationError, InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.dicom.agents import Agent, Catalogue, Nuclide, catalogue
from deeppsma.io.dicom.header import Header
from deeppsma.io.dicom.tracer import identify_tracer


def identified(*edits, override: Tracer | None = None):
    image = pet_slice(0, 1)
    for edit in edits:
        edit(image)
    return identify_tracer([Header(Path("a.dcm"), image)], override)


def no_agent(image: Dataset) -> None:
    injection_edited(RadiopharmaceuticalCodeSequence=None)(image)


@pytest.mark.parametrize(
    ("value", "scheme"),
    [("35321007", "SCT"), ("C-B1031", "SRT"), ("C-B1031", "SNM3"), ("Y-X1743", "99SDM"), ("C-B1031", "99SDM")],
)
def test_fdg_by_code_of_any_scheme(value: str, scheme: str) -> None:
    edit = injection_edited(RadiopharmaceuticalCodeSequence=Items([code(value, scheme, "x")]))
    assert identified(edit).tracer is Tracer.FDG


def test_a_tag_is_named_once() -> None:
    edit = injection_edited(
        RadiopharmaceuticalCodeSequence=Items([code("35321007", "SCT", "Fluorodeoxyglucose F^18^")])
    )
    said = [each for each in identified(edit).evidence if "RadiopharmaceuticalCodeSequence" in each]
    assert said == ["RadiopharmaceuticalCodeSequence (0054,0304) names FDG"]


@pytest.mark.parametrize(
    ("value", "scheme", "agent", "nuclide"),
    [
        ("C118961", "NCIt", "PSMA-11", "C-131A3"),
        ("C116352", "NCIt", "DCFPyL", "C-111A1"),
        ("126758", "DCM", "PSMA-1007", "C-111A1"),
        ("126759", "DCM", "PSMA-617", "C-131A3"),
    ],
)
def test_psma_by_code(value: str, scheme: str, agent: str, nuclide: str) -> None:
    def edit(image: Dataset) -> None:
        injected(image).RadiopharmaceuticalCodeSequence = Items([code(value, scheme, "x")])
        injected(image).RadionuclideCodeSequence = Items([code(nuclide, "SRT", "x")])
        injected(image).RadionuclideHalfLife = 6586.2 if nuclide == "C-111A1" else 4057.7

    found = identified(edit)
    assert found.tracer is Tracer.PSMA
    assert found.agent == agent


@pytest.mark.parametrize(
    ("text", "tracer"),
    [
        ("[18F]FDG", Tracer.FDG),
        ("Fluorodeoxyglucose", Tracer.FDG),
        ("F18-PSMA-1007", Tracer.PSMA),
        ("PYLARIFY", Tracer.PSMA),
        ("rhPSMA 7.3", Tracer.PSMA),
        ("flotufolastat F 18", Tracer.PSMA),
        ("Solution", None),
    ],
)
def test_text_decides_where_no_code_does(text: str, tracer: Tracer | None) -> None:
    assert identified(no_agent, injection_edited(Radiopharmaceutical=text)).tracer is tracer


@pytest.mark.parametrize(
    "keyword", ["SeriesDescription", "ProtocolName", "StudyDescription", "RequestedProcedureDescription"]
)
def test_text_of_the_series_counts(keyword: str) -> None:
    assert identified(no_agent, edited(**{keyword: "WB FDG PET"})).tracer is Tracer.FDG


def test_a_text_that_names_both_tracers_says_nothing() -> None:
    assert identified(no_agent, edited(StudyDescription="FDG after PSMA")).tracer is None


def test_fluorine_alone_decides_nothing() -> None:
    found = identified(no_agent)
    assert found.tracer is None
    assert found.nuclide == "F-18"


def test_contradictions_are_refused_and_an_override_decides() -> None:
    with pytest.raises(InputError, match=r"but SeriesDescription .* names PSMA ligand"):
        identified(edited(SeriesDescription="PSMA WB"))
    assert identified(edited(SeriesDescription="PSMA WB"), override=Tracer.PSMA).tracer is Tracer.PSMA


def test_a_nuclide_that_the_agent_is_not_made_with_is_refused() -> None:
    def edit(image: Dataset) -> None:
        as_psma(image)
        injected(image).RadionuclideCodeSequence = Items([code("C-111A1", "SRT", "x")])
        injected(image).RadionuclideHalfLife = 6586.2

    with pytest.raises(InputError, match="made with Ga-68, but the nuclide is F-18"):
        identified(edit)


def test_our_codes_are_the_standards() -> None:
    """pydicom's copy of context groups 4020 and 4021 has each code that we do not take from elsewhere."""
    groups = {
        f"{item.scheme_designator.upper()}:{item.value}"
        for group in (codes.cid4020, codes.cid4021)
        for item in (getattr(group, name) for name in group.dir())
    }
    listed = [c for entry in (*catalogue().nuclides, *catalogue().agents) for c in entry.codes]
    modern = [c for c in listed if not c.startswith("SRT:")]
    assert modern
    assert set(modern) <= groups


def test_old_codes_are_the_same_concepts_as_the_new() -> None:
    from pydicom.sr.coding import Code

    for entry in (*catalogue().nuclides, *catalogue().agents):
        new = [c.split(":")[1] for c in entry.codes if c.startswith("SCT:")]
        old = [c.split(":")[1] for c in entry.codes if c.startswith("SRT:") and "Y-X" not in c]
        for pair in zip(new, old, strict=False):
            assert Code(pair[0], "SCT", "") == Code(pair[1], "SRT", "")


def test_the_table_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="half_life_s must be positive"):
        Nuclide("X", (), (), 0.0)
    with pytest.raises(ValueError, match="tracer must be"):
        Agent("X", ("F-18",), (), (), "other")
    with pytest.raises(ValueError, match="no nuclide"):
        Agent("X", (), (), ())
    with pytest.raises(ValueError, match="unknown nuclides"):
        Catalogue({}, (), (Agent("X", ("F-18",), (), ()),))
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom/agents.toml").write_text("[schemes]\n")
    monkeypatch.setattr("deeppsma.core.settings.resources_folder", lambda: tmp_path)
    catalogue.cache_clear()
    try:
        with pytest.raises(ConfigurationError, match="mend the table"):
            catalogue()
    finally:
        monkeypatch.undo()
        catalogue.cache_clear()
