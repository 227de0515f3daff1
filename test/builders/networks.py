"""Networks and trainings that fit a test."""

from deeppsma.models.config import NetworkConfig
from deeppsma.training.config import TrainingConfig

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
