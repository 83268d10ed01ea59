"""Models as files: weights and owner maps as safetensors, the description as JSON."""

import json
import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from conure_lib.config import PATCHES, ModelConfig
from conure_lib.errors import ModelFileError
from conure_lib.files import read_json
from conure_lib.models.nextitnet import UserModel

FORMAT = 1  # of model files


def save_model(
    model: UserModel,
    folder: Path,
    extra: dict[str, Tensor] | None = None,
    about: dict | None = None,
) -> None:
    """Writes model.safetensors (weights, ``extra`` tensors) and model.json (sizes, tasks, ``about``)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}
    save_file(tensors | (extra or {}), folder / "model.safetensors")
    outputs = {
        task: {"n_labels": len(layer.weight), "bias": layer.bias is not None}
        for task, layer in model.outputs.items()
    }
    description = {
        "format": FORMAT,
        "model": asdict(model.config),
        "n_items": model.n_items,
        "outputs": outputs,
    }
    description["patches"] = model.patch_kind()
    (folder / "model.json").write_text(
        json.dumps(description | (about or {}), indent=1, sort_keys=True) + "\n"
    )


def load_model(folder: Path) -> tuple[UserModel, dict[str, Tensor], dict]:
    """The model, the extra tensors, and the whole description. Raises ModelFileError."""
    try:
        about = read_json(folder / "model.json")
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        mend = "wanted model.json and model.safetensors as they were written"
        raise ModelFileError(
            f"{folder}: cannot be read as a saved model: found {error}, {mend}"
        ) from error
    try:
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']!r}; this version reads {FORMAT}")
        sizes = dict(about["model"], dilations=tuple(about["model"]["dilations"]))
        if len(sizes["dilations"]) > len(tensors):
            raise ValueError(f"{len(sizes['dilations'])} blocks, more than there are tensors")
        nothing = torch.Generator().manual_seed(0)
        with torch.device("meta"):  # no memory is taken for sizes that may be anything
            model = UserModel(ModelConfig(**sizes), about["n_items"], nothing)
            for task, output in about["outputs"].items():
                kind = "classification" if output["bias"] else "ranking"
                model.add_output(task, output["n_labels"], kind, nothing)
            if about["patches"] not in (None, *PATCHES):
                raise ValueError(f"patches {about['patches']!r}")
            if about["patches"] is not None:
                model.add_patches(about["patches"], nothing)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        found = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"  # PyTorch adds its own stack
        raise ModelFileError(
            f"{folder / 'model.json'}: not a description of a model: found {found}; wanted what was written with "
            "the weights; write the folder anew"
        ) from error
    for name, parameter in model.named_parameters():
        value = tensors.get(name)
        if value is None or value.shape != parameter.shape or value.dtype != parameter.dtype:
            found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
            wanted = f"{parameter.dtype} {tuple(parameter.shape)}"
            raise ModelFileError(
                f"{folder / 'model.safetensors'}: {name}: found {found}; wanted {wanted}"
            )
        if not value.isfinite().all():
            raise ModelFileError(
                f"{folder / 'model.safetensors'}: {name}: found nan or inf; wanted numbers"
            )
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.pop(name))
    return model, tensors, about


def to_bit_planes(owner: Tensor, bits: int) -> Tensor:
    """An owner map in ``bits`` bits a weight: uint8 [bits, ceil(weights / 8)]; six tasks take 3 bits."""
    flat = owner.flatten().cpu().numpy()
    planes = [np.packbits((flat >> bit) & 1) for bit in range(bits)]
    return torch.from_numpy(np.stack(planes) if planes else np.zeros((0, 0), np.uint8))


def from_bit_planes(planes: Tensor, bits: int, shape: torch.Size) -> Tensor:
    """The owner map (uint8, ``shape``) behind ``to_bit_planes``. Raises ValueError if the sizes do not fit."""
    size = math.prod(shape)
    wanted = (bits, -(-size // 8) if bits else 0)
    if (planes.dtype, tuple(planes.shape)) != (torch.uint8, wanted):
        raise ValueError(
            f"bit planes {planes.dtype} {tuple(planes.shape)}, not torch.uint8 {wanted}"
        )
    owner = np.zeros(size, np.uint8)
    for bit, plane in enumerate(planes.numpy()):
        owner |= np.unpackbits(plane, count=size) << np.uint8(bit)
    return torch.from_numpy(owner).view(shape)
