import gc
import subprocess
import sys
import threading

import pytest

from deeppsma.models import early_import
from deeppsma.models.early_import import import_early


def test_what_is_there_is_given_at_once():
    import monai.networks.nets.dynunet as there

    before = threading.active_count()
    assert import_early().result(timeout=0) is there
    assert threading.active_count() == before


def test_what_goes_wrong_is_raised_where_the_result_is_asked_for(monkeypatch, tmp_path):
    (tmp_path / "broken_by_half.py").write_text("raise MemoryError('no memory for this')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(early_import, "_SLOW", "broken_by_half")
    coming = import_early()
    with pytest.raises(MemoryError, match="no memory for this"):
        coming.result(timeout=60)


def test_it_comes_while_something_else_is_done():
    """In a fresh process: not there at once, there in the end, and the process ends."""
    code = (
        "import sys; from deeppsma.models.early_import import import_early, _SLOW; coming = import_early();"
        "early = coming.done(); name = coming.result(timeout=100).__name__;"
        "print(early, name == _SLOW, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert said.stdout.split() == ["False", "True", "True"]


@pytest.mark.parametrize("collected", [True, False])
def test_no_garbage_is_looked_for_meanwhile(monkeypatch, tmp_path, collected):
    (tmp_path / f"many_objects_{collected}.py").write_text("import gc\nwas_collected = gc.isenabled()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(early_import, "_SLOW", f"many_objects_{collected}")
    if not collected:
        gc.disable()
    try:
        assert not import_early().result(timeout=60).was_collected
        assert gc.isenabled() is collected
    finally:
        gc.enable()
