"""The networks, their owner maps, and their files.

``backbone`` says what every network has, ``layers`` what several use; a backbone is a file, listed
here. ``convolution`` and ``padding`` make NextItNet fast, ``reference`` defines it in few lines.
``ownership`` says which task owns which weight; ``checkpoint`` writes and reads it.
"""

import torch

from conure_lib.config import ModelConfig, shown
from conure_lib.errors import ConfigError
from conure_lib.models.backbone import UserModel
from conure_lib.models.gru import GRU
from conure_lib.models.nextitnet import NextItNet
from conure_lib.models.sasrec import SASRec

BACKBONES: dict[str, type[UserModel]] = {"nextitnet": NextItNet, "gru": GRU, "sasrec": SASRec}
"""Every backbone by the name that ``ModelConfig.backbone`` gives it."""


def new_model(config: ModelConfig, n_items: int, generator: torch.Generator) -> UserModel:
    """Return a network for items 1 to ``n_items`` with random weights of the generator.

    ConfigError for a backbone that there is not.
    """
    if config.backbone not in BACKBONES:
        expected = " or ".join(BACKBONES)
        raise ConfigError(f"backbone: found {shown(config.backbone)}, expected {expected}")
    return BACKBONES[config.backbone](config, n_items, generator)
