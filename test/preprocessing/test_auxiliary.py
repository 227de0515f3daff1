import shutil
from dataclasses import replace

import pytest
from builders.cases import TINY_NETWORK, write_platform_case
from builders.networks import CLASSES

from deeppsma.core.errors import InputError
from deeppsma.core.tracer import Tracer
from deeppsma.io.case import load_case
from deeppsma.models.weights import Member
from deeppsma.preprocessing.auxiliary import read_companions


def member(folder, network):
    return Member("m", folder, network, "")


def test_only_what_is_asked_for_is_read(platform_case):
    case = load_case(platform_case)
    nothing = read_companions(case, [], [], [])
    assert all(each is None for each in (*nothing.organs.values(), *nothing.cts.values()))
    spared = read_companions(case, [], ["growing spares no organ"], [])
    assert all(spared.organs[tracer] is not None for tracer in Tracer)
    fed = read_companions(case, [member(platform_case, CLASSES)], [], [])
    assert fed.organs[Tracer.PSMA] is fed.cts[Tracer.PSMA] is None
    assert fed.organs[Tracer.FDG] is not None
    assert fed.cts[Tracer.FDG] is not None


def test_what_can_be_done_without_is_said_and_what_cannot_is_refused(tmp_path):
    folder = write_platform_case(tmp_path / "input", with_listing=False)
    shutil.rmtree(folder / "images/fdg-ct-organ-segmentation")
    notes = []
    assert (
        read_companions(load_case(folder), [member(folder, TINY_NETWORK)], ["growing spares no organ"], notes).organs[
            Tracer.FDG
        ]
        is None
    )
    assert notes == ["no FDG organ map: the network sees no organs, growing spares no organ"]
    with pytest.raises(InputError, match="no organ map, and m needs one"):
        read_companions(load_case(folder), [member(folder, CLASSES)], [], [])
    folder = write_platform_case(tmp_path / "other", with_listing=False)
    shutil.rmtree(folder / "images/fdg-ct")
    with pytest.raises(InputError, match="no CT, and m needs one"):
        read_companions(load_case(folder), [member(folder, CLASSES)], [], [])


def test_uptake_against_the_organ_reads_the_organs(platform_case):
    fed = replace(TINY_NETWORK, channels=("fdg_contrast",), organ_embedding=0)
    found = read_companions(load_case(platform_case), [member(platform_case, fed)], [], [])
    assert found.organs[Tracer.FDG] is not None
    assert found.organs[Tracer.PSMA] is None
