import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from builders.results import GRID, RUN_REPORT, TYPICAL, Spot, result

from deeppsma.core.errors import ConfigurationError, InputError, OutputError
from deeppsma.core.tracer import Tracer
from deeppsma.core.volume import Volume
from deeppsma.io.image_files import ImageFile, write_image
from deeppsma.io.result_folder import mask_path, output_folder, write_result
from deeppsma.reporting.apply_review import apply_review, read_review, reviewed_mask
from deeppsma.reporting.case_result import CaseResult
from deeppsma.reporting.content import BANNER, report_content
from deeppsma.reporting.figures import projections, thumbnail
from deeppsma.reporting.html import report_html
from deeppsma.reporting.pdf import report_pdf
from deeppsma.reporting.report_files import Report, read_report_json, write_report
from deeppsma.reporting.scatter import scatter_svg
from deeppsma.reporting.tables import CSV_COLUMNS, lesions_csv, report_json
from deeppsma.reporting.viewer.volumes import ViewerVolumes, viewer_volumes

MISSED = {
    Tracer.PSMA: [*TYPICAL[Tracer.PSMA], Spot((46, 30, 40), (3, 3, 3), 7.0, found=False)],
    Tracer.FDG: TYPICAL[Tracer.FDG],
}


def stored(folder: Path, spots=MISSED, run_report=RUN_REPORT) -> tuple[Path, CaseResult]:
    case = result(spots, with_ct=True)
    with output_folder(folder) as staging:
        write_result(staging, folder, {t: scan.mask for t, scan in case.scans.items()}, dict(run_report))
    write_report(Report(report_content(case)), folder)
    return folder, case


def review_json(out: Path, decisions, **change) -> Path:
    masks = read_report_json(out)["masks_sha256"]
    content = {"format": "deeppsma-review-1", "case": "c", "masks_sha256": masks, "reviewer": "Dr. A",
               "decided_at": "2026-01-01T00:00:00Z", "decisions": decisions} | change  # fmt: skip
    (out / "review.json").write_text(json.dumps(content))
    return out / "review.json"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.handlers.append((tag, name))
            if name in ("src", "href", "action", "srcset") and not (value or "").startswith(("data:image/png", "#")):
                self.loads.append((tag, value))


@pytest.mark.parametrize(
    ("spots", "options"),
    [
        (TYPICAL, {"with_ct": True}),
        ({Tracer.PSMA: TYPICAL[Tracer.PSMA]}, {}),
        ({Tracer.FDG: TYPICAL[Tracer.FDG]}, {"with_organs": False}),
        ({Tracer.PSMA: [], Tracer.FDG: []}, {}),
    ],
)
def test_every_kind_of_case_makes_a_page_a_pdf_and_tables(spots, options):
    content = report_content(result(spots, **options))
    page = report_html(content)
    assert page.count(BANNER) >= 3
    parsed = Page(page)
    assert parsed.loads == []
    assert parsed.handlers == []
    assert "script-src &#39;sha256-" in page or "script-src 'sha256-" in page
    assert "unsafe" not in re.search(r'content="(default-src[^"]*)"', page)[1]
    pdf = report_pdf(content)
    assert pdf.startswith(b"%PDF")
    assert pdf == report_pdf(content)  # the same bytes again
    json.dumps(report_json(content), allow_nan=False)
    rows = list(csv.DictReader(io.StringIO(lesions_csv(content))))
    assert len(rows) == len(content.table.lesions)
    if not rows:
        assert "No disease was found" in page


def test_sums_on_the_page_add_up():
    """Each tracer's classes make up its foci, and the regions' last row is the whole."""
    page = report_html(report_content(result(TYPICAL)))
    card = re.search(r"Both tracers: foci.*?</table>", page, re.S)[0]
    columns = list(
        zip(*([int(n) for n in re.findall(r'class="n">(\d+)<', row)] for row in card.split("<tr")[2:]), strict=True)
    )
    assert columns == [(1, 1, 0, 0, 2), (1, 0, 1, 0, 2)]
    regions = re.search(r"PSMA: volume and uptake by region.*?</table>", page, re.S)[0]
    assert re.findall(r'<td class="n">([^<]*)<', regions)[-6:] == ["6.7", "11.7", "12.0", "78.7", "1", "1"]


def test_a_long_table_begins_on_the_sheet_of_its_head():
    """Kept together with its head, a table of more than a sheet would leave the rest of the last one white."""
    spots = [Spot((2 + 4 * (k % 14), 2 + 5 * (k // 14), 2), (2, 3, 3), 5.0 + k % 20) for k in range(70)]
    pdf = report_pdf(report_content(result({Tracer.PSMA: spots})))
    assert pdf.count(b"/Type /Page\n") == 4


def test_gaps_are_said():
    content = report_content(result({Tracer.FDG: TYPICAL[Tracer.FDG]}, with_organs=False))
    said = " ".join(content.notes)
    for words in ("CT not used", "No PSMA result", "No organ map with the FDG", "No CT with the FDG", "No probability"):
        assert words in said
    page = report_html(content)
    assert all(note.split(":")[0] in page for note in content.notes)


def test_texts_from_files_are_escaped_everywhere():
    evil = '<script>alert(1)</script><img src=x onerror="alert(2)">'
    case = result(TYPICAL)
    report = {**RUN_REPORT, "notice": evil, "fallbacks": [evil], "recipe": {"name": evil, "summary": evil},
              "members": [{"name": evil, "what": evil, "trained_on": evil, "sha256": "</script>"}]}  # fmt: skip
    case = CaseResult(evil, case.scans, case.fdg_to_psma, report, False)
    content = report_content(case)
    page = report_html(content)
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    parsed = Page(page)
    assert parsed.handlers == []
    assert parsed.tags.count("script") == 2 + 4  # data, viewer, two PETs and two label maps
    assert evil not in scatter_svg(content)
    assert report_pdf(content).startswith(b"%PDF")


def test_csv_and_json_hold_the_tables_figures():
    content = report_content(result(TYPICAL))
    rows = list(csv.DictReader(io.StringIO(lesions_csv(content))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert rows[0]["id"] == "P1"
    assert float(rows[0]["volume_ml"]) == pytest.approx(6.4)
    assert (rows[0]["group"], rows[0]["partners"], rows[0]["probability"]) == ("C1", "F1", "")
    assert rows[1]["small"] == "yes"
    stored_json = report_json(content)
    assert stored_json["totals"]["psma"]["all"]["volume_ml"] == pytest.approx(6.72)
    assert stored_json["synthetic"] is True


def test_viewer_volumes_show_every_lesion_where_it_is():
    case = result(MISSED, with_ct=True)
    content = report_content(case)
    volumes = viewer_volumes(case, content.table, content.review.candidates)
    for tracer in Tracer:
        for lesion in content.table.of(tracer):
            index = np.argwhere(volumes.labels[tracer] == lesion.number)
            assert len(index)
            world = volumes.geometry.index_to_world(index).mean(axis=0)
            shift = 8.0 if tracer is Tracer.FDG else 0.0  # FDG is brought to the PSMA scan
            assert world == pytest.approx(np.array(lesion.centre_xyz_mm) - [shift, 0, 0], abs=3)
        assert volumes.pet[tracer].max() == round(10 * max(x.suv_max for x in content.table.of(tracer)))
    assert (volumes.labels[Tracer.PSMA] == 30001).any()
    assert set(volumes.ct) == set(Tracer)
    assert viewer_volumes(case, content.table, with_ct=False).ct == {}
    assert thumbnail(volumes, Tracer.PSMA, 1).size == (96, 96)
    assert thumbnail(volumes, Tracer.PSMA, 77) is None
    picture = np.array(projections(content, volumes, Tracer.PSMA))
    assert (picture == (0, 158, 115)).all(axis=2).any()  # P1 is concordant
    with pytest.raises(ValueError, match="viewer's grid"):
        ViewerVolumes(GRID, {Tracer.PSMA: np.zeros((1, 1, 1), np.uint8)}, {}, {})
    with pytest.raises(ValueError, match="both tracers"):
        scatter_svg(report_content(result({Tracer.PSMA: []})))


def test_the_same_result_gives_the_same_page():
    assert report_html(report_content(result(TYPICAL))) == report_html(report_content(result(TYPICAL)))


def test_a_review_makes_masks_and_says_who_decided_what(tmp_path):
    out, case = stored(tmp_path / "out")
    written = apply_review(out, review_json(out, {"P2": "reject", "PX1": "confirm", "F1": "unsure", "F2": "confirm"}))
    assert all(path.is_relative_to(out / "reviewed") for path in written)
    reviewed = ImageFile(mask_path(out / "reviewed", Tracer.PSMA)).read()
    expected = case.scans[Tracer.PSMA].mask.voxels.copy()
    expected[10:12, 24:26, 22] = 0
    expected[46:49, 30:33, 40:43] = 1
    assert (reviewed.voxels == expected).all()
    assert reviewed.geometry.same_grid(GRID)
    fdg = ImageFile(mask_path(out / "reviewed", Tracer.FDG)).read()
    assert (fdg.voxels == case.scans[Tracer.FDG].mask.voxels).all()
    record = json.loads((out / "reviewed/run_report.json").read_text())["review"]
    assert record["reviewer"] == "Dr. A"
    assert record["decisions"]["P2"] == "reject"
    assert record["changes"]["psma"] == {"volume_ml_before": 6.72, "volume_ml_after": round((80 + 27) * 0.08, 4)}
    # The result itself is as it was.
    assert (ImageFile(mask_path(out, Tracer.PSMA)).read().voxels == case.scans[Tracer.PSMA].mask.voxels).all()


def test_what_is_no_review_of_this_result_is_refused(tmp_path):
    out, _ = stored(tmp_path / "out")
    for decisions, change, words in (
        ({"P9": "reject"}, {}, "P9"),
        ({"P1": "maybe"}, {}, "maybe"),
        ({"P1": "reject"}, {"masks_sha256": {"psma": "0", "fdg": "0"}}, "another PSMA mask"),
        ({"P1": "reject"}, {"format": "x"}, "format"),
        ([], {}, "without decisions"),
    ):
        with pytest.raises(InputError, match=words):
            apply_review(out, review_json(out, decisions, **change))
    assert not (out / "reviewed").exists()
    good = review_json(out, {"P1": "reject"})
    (out / "report_foci.npz").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match="not readable"):
        apply_review(out, good)
    (out / "report_foci.npz").unlink()
    with pytest.raises(InputError, match="no such file"):
        apply_review(out, good)
    (out / "report.json").write_text("[]")
    with pytest.raises(InputError, match="no report"):
        apply_review(out, good)
    (out / "report.json").unlink()
    with pytest.raises(InputError, match="make one"):
        apply_review(out, good)
    with pytest.raises(InputError, match="not readable"):
        read_review(out / "none.json")


def test_decisions_on_one_tracer_leave_the_other_alone():
    mask = np.array([[[1, 1, 0]]], np.uint8)
    voxels, numbers = np.array([0, 1, 2]), np.array([1, 2, 30001], np.uint16)
    assert reviewed_mask(mask, voxels, numbers, Tracer.PSMA, {"F1": "reject", "FX1": "confirm"}).tolist() == [
        [[1, 1, 0]]
    ]
    assert reviewed_mask(mask, voxels, numbers, Tracer.PSMA, {"P1": "reject", "PX1": "reject"}).tolist() == [
        [[0, 1, 0]]
    ]
    assert reviewed_mask(mask, voxels, numbers, Tracer.PSMA, {"P1": "confirm", "PX1": "confirm"}).tolist() == [
        [[1, 1, 1]]
    ]


def test_a_new_result_takes_the_old_report_with_it(tmp_path):
    out, _ = stored(tmp_path / "out")
    assert (out / "report.html").is_file()
    with output_folder(out):
        assert not any((out / name).exists() for name in ("report.html", "report.json", "lesions.csv", "report.pdf"))


def test_without_reportlab_the_remedy_is_said(monkeypatch):
    import builtins

    real = builtins.__import__

    def no_reportlab(name, *args, **kwargs):
        if name.startswith("reportlab"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_reportlab)
    with pytest.raises(ConfigurationError, match=r"pip install 'deeppsma\[report\]'"):
        report_pdf(report_content(result(TYPICAL)))


def test_a_folder_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="could not be written"):
        write_report(Report(report_content(result(TYPICAL))), tmp_path / "none", with_pdf=False)


def test_a_notebook_shows_the_page():
    shown = Report(report_content(result({Tracer.PSMA: []})))._repr_html_()
    assert shown.startswith("<iframe")
    assert "<!DOCTYPE" not in shown  # escaped inside srcdoc


def test_loading_a_stored_result(tmp_path):
    from deeppsma.io.case import Case
    from deeppsma.reporting.case_result import case_result, load_case_result

    out, made = stored(tmp_path / "out")
    for tracer, scan in made.scans.items():
        write_image(scan.pet, tmp_path / f"{tracer}.mha")
    case = Case.from_files(
        psma_pet=tmp_path / "psma.mha", fdg_pet=tmp_path / "fdg.mha",
        thresholds=dict.fromkeys(Tracer, 3.0), fdg_to_psma=made.fdg_to_psma,
    )  # fmt: skip
    loaded = load_case_result(out, case)
    assert loaded.tracers == tuple(Tracer)
    assert loaded.scans[Tracer.PSMA].mask_sha256 == made.scans[Tracer.PSMA].mask_sha256
    alone = Case.from_files(psma_pet=tmp_path / "psma.mha", thresholds={Tracer.PSMA: 3.0})
    assert load_case_result(out, alone).tracers == (Tracer.PSMA,)
    with pytest.raises(InputError, match=r"no run_report.json"):
        load_case_result(tmp_path, case)
    other = Volume(made.scans[Tracer.PSMA].mask.voxels[:-1], GRID.cropped(_box()))
    with pytest.raises(ValueError, match="mask is on"):
        case_result(alone, {Tracer.PSMA: other}, {})
    write_image(other, mask_path(out, Tracer.PSMA))
    with pytest.raises(InputError, match="mask is on"):
        load_case_result(out, alone)
    mask_path(out, Tracer.PSMA).unlink()
    with pytest.raises(InputError, match="no mask"):
        load_case_result(out, alone)
    (out / "run_report.json").write_text("[]")
    with pytest.raises(InputError, match="no run report"):
        load_case_result(out, alone)


def _box():
    from deeppsma.core.box import Box

    z, y, x = GRID.shape_zyx
    return Box((0, 0, 0), (z - 1, y, x))
