import pytest

from deeppsma.cli.commands import main
from deeppsma.core.errors import DeepPsmaError
from deeppsma.operation import doctor
from deeppsma.operation.doctor import Finding, examine


def by_check(findings):
    return {finding.check: finding for finding in findings}


def test_a_sound_installation_is_ok(tmp_path, tiny_weights):
    found = by_check(examine(tmp_path, tiny_weights, "cpu"))
    assert {finding.state for finding in found.values()} <= {"ok", "warning"}
    assert "one window of" in found["weights cds-compact"].found
    assert str(tmp_path) in found["results"].found


def test_a_stand_in_is_looked_at_too():
    found = by_check(examine(None, None, "cpu"))
    assert "one window of" in found["weights cds-compact-without-organ-maps"].found


def test_spoilt_weights_fail_with_their_line(tmp_path, tiny_weights, capsys):
    import shutil

    store = tmp_path / "store"
    shutil.copytree(tiny_weights, store)
    weights = store / "cds-compact/weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert main(["doctor", "--weights", str(store), "--device", "cpu"]) != 0
    said = capsys.readouterr()
    assert "failed   weights cds-compact" in said.out
    assert said.err.splitlines()[-1].startswith("deeppsma: error: doctor: weights cds-compact failed")


def test_a_gpu_that_is_not_there_fails_when_it_is_asked_for(tiny_weights, monkeypatch):
    monkeypatch.setattr("deeppsma.inference.device._gpu_problem", lambda: ("none found", False))
    found = by_check(examine(None, tiny_weights, "cuda"))
    assert found["device"].state == "failed"
    assert "no window was run" in found["weights cds-compact"].found


def test_a_gpu_that_does_not_work_is_a_warning(tiny_weights, monkeypatch):
    monkeypatch.setattr("deeppsma.inference.device._gpu_problem", lambda: ("the driver is too old", True))
    found = by_check(examine(None, tiny_weights))
    assert (found["device"].state, "driver" in found["device"].remedy) == ("warning", True)


def test_values_that_are_not_finite_fail(tiny_weights, monkeypatch):
    import numpy as np

    monkeypatch.setattr("deeppsma.inference.run.window_runner", lambda *_: lambda window: np.full(3, np.nan))
    found = by_check(examine(None, tiny_weights, "cpu"))
    assert "not finite" in found["weights cds-compact"].found


def test_what_a_library_says_of_itself_is_one_line(tiny_weights, monkeypatch):
    def broken(_):
        raise ImportError("libcudart.so: cannot open\nmore")

    monkeypatch.setattr(doctor, "plan_compute", broken)
    found = by_check(examine(None, tiny_weights))
    assert (found["device"].state, found["device"].found) == ("failed", "libcudart.so: cannot open")


def test_folders_that_cannot_be_written_to(tmp_path, monkeypatch):
    assert doctor._writable("results", tmp_path / "new").state == "ok"
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    assert doctor._writable("results", tmp_path / "new").state == "failed"

    def refused(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refused)
    assert "Permission denied" in doctor._writable("results", tmp_path).found


def test_no_folder_for_temporary_files_is_a_warning(tiny_weights, monkeypatch):
    """A read-only container without /tmp ended with a line that named no file."""

    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(doctor.tempfile, "gettempdir", none)
    found = by_check(examine(None, tiny_weights, "cpu"))
    assert (found["temporary files"].state, "--tmpfs /tmp" in found["temporary files"].remedy) == ("warning", True)
    assert found["device"].state == "ok"


def test_provenance_is_short_and_says_where_the_whole_is():
    said = by_check(examine(None, None, "cpu"))["weights cds-compact"].found
    assert "seeds" not in said
    assert "no real ones" in said
    assert "(in full: deeppsma recipes)" in said


def test_short_memory_is_a_warning_of_the_smaller_limit(tmp_path, monkeypatch):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8000000 kB\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    assert doctor._available_bytes(tmp_path) == 8_192_000_000
    (group / "memory.max").write_text("2000000000\n")
    assert doctor._available_bytes(tmp_path) == 2_000_000_000
    assert doctor._available_bytes(tmp_path / "nowhere") is None
    monkeypatch.setattr(doctor, "_available_bytes", lambda: 2_000_000_000)
    assert doctor._memory().state == "warning"
    monkeypatch.setattr(doctor, "_available_bytes", lambda: None)
    assert doctor._memory().state == "ok"


def test_a_recipe_that_cannot_run_says_what_to_do_once(tmp_path):
    found = by_check(examine(None, tmp_path, "cpu"))["recipe"]
    assert (found.state, found.found) == ("failed", f"{tmp_path}: no member there")
    assert found.remedy.startswith("a member is a folder with manifest.json")


def test_an_error_without_a_remedy_has_one():
    def broken():
        raise DeepPsmaError("all is lost")

    assert str(doctor._guarded("recipe", broken)).endswith("all is lost; mend that, and run doctor again")


def test_a_finding_that_is_not_ok_says_what_to_do():
    with pytest.raises(ValueError, match="says what to do"):
        Finding("memory", "failed", "none")
