"""Models as files: weights as safetensors, the rest as JSON; reading them runs no code."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from conure_lib.config import ModelConfig
from conure_lib.errors import ModelFileError
from conure_lib.files import read_json, regular, write_json
from conure_lib.models import new_model
from conure_lib.models.backbone import UserModel
from conure_lib.models.layers import PatchKind

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"
FORMAT = 3  # of the two files


def save_model(
    model: UserModel, folder: Path, extra: dict | None = None, about: dict | None = None
) -> None:
    """Write a model, with further tensors and JSON, as model.safetensors and model.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}
    save_file(tensors | (extra or {}), folder / WEIGHTS)
    known = {"format": FORMAT, "model": asdict(model.config), "patches": model.patch_kind}
    write_json(folder / DESCRIPTION, known | (about or {}))


def load_model(folder: Path) -> tuple[UserModel, dict[str, Tensor], dict]:
    """Read what ``save_model`` wrote: model, extra tensors, model.json; else ModelFileError."""
    try:
        about = read_json(folder / DESCRIPTION)
        tensors = load_file(regular(folder / WEIGHTS))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r} of another version, not {FORMAT}")
        sizes = dict(about["model"], dilations=tuple(about["model"]["dilations"]))
        model = _empty_model(ModelConfig(**sizes), about["patches"], tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else error
        expected = f"{DESCRIPTION} and {WEIGHTS} as this version writes them"
        raise ModelFileError(f"{folder}: found {found}, expected {expected}") from error
    for name, parameter in model.named_parameters():
        found, expected = _shape(tensors.get(name)), _shape(parameter)
        if found == expected and not tensors[name].isfinite().all():
            found, expected = "nan or inf", "finite numbers"
        if found != expected:
            place = f"{folder / WEIGHTS}, {name}"
            raise ModelFileError(f"{place}: found {found}, expected {expected}")
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.pop(name))
    return model, tensors, about


def _empty_model(config: ModelConfig, patches: str | None, tensors: dict) -> UserModel:
    """Return the model, its sizes from the tensors, on the meta device where none takes memory."""
    if config.blocks > len(tensors) or patches not in (None, *get_args(PatchKind)):
        raise ValueError(f"{config.blocks} blocks, patches {patches!r}")
    unused = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        model = new_model(config, len(tensors["embedding"]) - 1, unused)
        for name, weight in tensors.items():
            if output := re.fullmatch(r"outputs\.([^.]+)\.weight", name):
                if weight.shape[1:] != (config.width,):  # rows without width would cost no bytes
                    raise ValueError(f"{name} of {_shape(weight)}")
                model.add_output(output[1], np.ones(len(weight)), unused)
        if patches:
            model.add_patches(patches, unused)
    return model


def _shape(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"


def to_bit_planes(owner: Tensor, bits: int) -> Tensor:
    """Pack an owner map into ``bits`` bits per weight (six tasks take 3): [bits, ceil(n / 8)]."""
    numbers = np.arange(bits, dtype=np.uint8)[:, None]
    return torch.from_numpy(np.packbits((owner.flatten().cpu().numpy() >> numbers) & 1, axis=1))


def from_bit_planes(planes: Tensor, bits: int, shape: torch.Size) -> Tensor:
    """Return the owner map (uint8, ``shape``) of bit planes; ValueError for other sizes."""
    expected = (bits, -(-shape.numel() // 8))
    if (planes.dtype, tuple(planes.shape)) != (torch.uint8, expected):
        raise ValueError(f"bit planes {_shape(planes)} instead of torch.uint8 {expected}")
    flags = np.unpackbits(planes.numpy(), axis=1, count=shape.numel())
    owner = (flags << np.arange(bits, dtype=np.uint8)[:, None]).sum(axis=0, dtype=np.uint8)
    return torch.from_numpy(owner).view(shape)
