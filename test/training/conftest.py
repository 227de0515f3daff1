import pytest

from deeppsma.network import NetworkConfig
from deeppsma.phantom.cohort import write_patient
from deeppsma.training.config import TrainingConfig
from deeppsma.training.samples import cached_samples, case_folders
from test.phantom.small import small_patient

SMALL_NETWORK = NetworkConfig(
    channels=("fdg_pet", "fdg_organs", "psma_pet", "psma_organs"),
    outputs=("fdg", "psma"),
    filters=(4, 4, 4, 4),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    patch_zyx=(16, 16, 16),
    organ_embedding=2,
)
#: As PaIRe's: one tracer, three classes, every kind of channel.
CLASSES = NetworkConfig(
    channels=("fdg_ratio", "fdg_ct", "fdg_organ-bones", "fdg_sdf-liver"),
    outputs=("background", "fdg", "fdg_normal"),
    filters=(4, 4, 4, 4),
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    patch_zyx=(16, 16, 16),
    architecture="plain",
    blocks=(1, 1, 1, 1),
)
QUICK = TrainingConfig("compact", steps=6, batch=2, learning_rate=1e-3, average_decay=0.9, loss_where="above_threshold")


@pytest.fixture(scope="package")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    for seed in (3, 4):
        write_patient(small_patient(seed), folder / f"train_{seed:04d}", "train")
    return folder


@pytest.fixture(scope="package")
def samples(cohort, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    return [path for paths in cached_samples(case_folders(cohort), SMALL_NETWORK, cache) for path in paths]
