"""A folder may hold anything: other files, links in a circle, pipes, a DICOMDIR."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from builders.dicom_files import write_pet
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from deeppsma.core.errors import InputError
from deeppsma.io.dicom.files import holds_dicom, require_pydicom, scan_folder


def test_three_thousand_other_files_do_not_matter(tmp_path: Path) -> None:
    folder = write_pet(tmp_path / "in")
    for number in range(3000):
        (folder / f"{number}.png").write_bytes(b"\x89PNG" + bytes(300))
    started = time.perf_counter()
    scan = scan_folder(folder)
    assert time.perf_counter() - started < 10
    assert (len(scan.headers), scan.other_count) == (4, 3000)


def test_links_in_a_circle_and_to_nothing_and_pipes(tmp_path: Path) -> None:
    folder = write_pet(tmp_path / "in" / "deep")
    (folder / "up").symlink_to(tmp_path / "in")
    (folder / "self").symlink_to(folder / "self")
    (folder / "gone").symlink_to(tmp_path / "nothing")
    os.mkfifo(folder / "pipe")
    assert len(scan_folder(tmp_path / "in").headers) == 4


def test_a_linked_folder_is_entered_once(tmp_path: Path) -> None:
    elsewhere = write_pet(tmp_path / "elsewhere")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a").symlink_to(elsewhere)
    (tmp_path / "in/b").symlink_to(elsewhere)
    assert len(scan_folder(tmp_path / "in").headers) == 4


def test_a_dicomdir_is_passed_over(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    directory.FileSetID = "DISC"
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)
    scan = scan_folder(folder)
    assert (len(scan.headers), scan.other_count, scan.unreadable) == (4, 1, ())


def test_a_file_without_preamble_is_read(tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    path = sorted(folder.iterdir())[0]
    image = dcmread(path)
    bare = DicomBytesIO()
    bare.is_implicit_VR, bare.is_little_endian = True, True
    write_dataset(bare, image)
    path.write_bytes(bare.getvalue())
    assert path.read_bytes()[:2] == b"\x08\x00"
    assert len(scan_folder(folder).headers) == 4


@pytest.mark.parametrize(
    "content", [b"\x08\x00\x05\x00\xff\xff\xff\x7f" + bytes(200), b"\x02\x00\x00\x00UL" + bytes(200)]
)
def test_bytes_that_begin_like_dicom_and_are_not(content: bytes, tmp_path: Path) -> None:
    folder = write_pet(tmp_path)
    (folder / "raw").write_bytes(content)
    scan = scan_folder(folder)
    assert (len(scan.headers), scan.unreadable) == (4, ())


def test_whether_a_folder_holds_dicom(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert not holds_dicom(tmp_path)
    write_pet(tmp_path / "deep")
    assert holds_dicom(tmp_path)
    assert not holds_dicom(tmp_path, look_at=1)


def test_without_pydicom_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(InputError, match=r"pydicom is not installed; pip install 'deeppsma\[dicom\]'"):
        require_pydicom()
