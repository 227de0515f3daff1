"""Pictures and PDFs: what was put in comes out."""

from __future__ import annotations

import io

import numpy as np
import pydicom
from builders.dicom_results import ABOUT, source
from PIL import Image

from deeppsma.io.dicom.result_object import save
from deeppsma.io.dicom.write_pages import capture, encapsulated_pdf


def test_a_picture_is_the_same_picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (17, 31, 3), np.uint8)
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    (path,) = save({"capture": capture(source(tmp_path / "pet"), ABOUT, png.getvalue())}, tmp_path / "out")
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, pixels)


def test_a_pdf_of_odd_length_is_the_same_pdf(tmp_path):
    (path,) = save({"pdf": encapsulated_pdf(source(tmp_path / "pet"), ABOUT, b"%PDF-1.4 odd!")}, tmp_path / "out")
    read = pydicom.dcmread(path)
    assert read.EncapsulatedDocument[: read.EncapsulatedDocumentLength] == b"%PDF-1.4 odd!"
    assert len(read.EncapsulatedDocument) % 2 == 0
