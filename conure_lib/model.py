"""NextItNet: item embedding, residual blocks of dilated causal convolutions, one output layer per task."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .config import PATCHES, ModelConfig
from .data.stream import Kind
from .files import read_json
from .layers import Block, BlockInputs, OutputLayer, Patch, PatchKind, normal, receptive_cone

FORMAT = 1  # of model files
Pads = list[BlockInputs]


class UserModel(nn.Module):
    """One backbone and the output layers of the tasks it has met so far.

    Raises nothing by itself: ids outside 0..n_items end in PyTorch's IndexError.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.sparse_embedding = False  # gradient of the embedding as rows (``TrainConfig.table_updates``)
        self.embedding = nn.Parameter(normal((n_items + 1, config.width), 0.02, generator))
        self.blocks = nn.ModuleList(Block(config.width, generator) for _ in config.dilations)
        self.outputs = nn.ModuleDict()

    def add_output(self, task: str, n_labels: int, kind: Kind, generator: torch.Generator) -> None:
        """A new output layer for a task; replaces one of the same name."""
        layer = OutputLayer(n_labels, self.config.width, kind, generator)
        self.outputs[task] = layer.to(self.embedding.device)

    def add_patches(self, kind: PatchKind, generator: torch.Generator) -> None:
        """A model patch at every convolution (PeterRec)."""
        for block in self.blocks:
            for name in ("patch1", "patch2"):
                patch = Patch(self.config.width, kind, generator)
                setattr(block, name, patch.to(self.embedding.device))

    def patch_kind(self) -> PatchKind | None:
        """How the model is patched; None if it is not."""
        return None if self.blocks[0].patch1 is None else self.blocks[0].patch1.kind

    def kernels(self) -> dict[str, nn.Parameter]:
        """The convolution kernels by parameter name, in order of depth."""
        return {n: p for n, p in self.named_parameters() if n.rpartition(".")[2].startswith("kernel")}

    def hidden(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """Hidden vectors, time-major: [B, L] item ids -> [L - prefix, B, k] (matrix E, section 3.2).

        prefix: how many positions are padding in every sequence; nothing is computed for them. pads: what
        ``pad_rows`` gave for at least as many, if several calls share it.
        """
        return self._run(sequences, False, prefix, pads)

    def user_vectors(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """The vector at the last position (g, section 3.2), for tasks after T1: [B, L] item ids -> [B, k].

        With ``config.separator`` an id 0 is appended and read instead. prefix, pads: see ``hidden``.
        """
        return self.last_hidden(F.pad(sequences, (0, 1)) if self.config.separator else sequences, prefix, pads)

    def last_hidden(self, sequences: Tensor, prefix: int = 0, pads: Pads | None = None) -> Tensor:
        """The last position of ``hidden`` at the cost of its receptive cone: [B, L] item ids -> [B, k]."""
        return self._run(sequences, True, prefix, pads)[0]

    def pad_rows(self, prefix: int) -> Pads:
        """What each convolution reads at ``prefix`` positions of padding, per block two tensors [prefix, k].

        Before a sequence's first item all hidden vectors depend on the position only: one row serves all.
        """
        _, plans = receptive_cone(self.config.dilations, prefix, False, 0, self.embedding.device)
        padding = torch.zeros(prefix, 1, dtype=torch.long, device=self.embedding.device)
        h = F.embedding(padding, self.embedding, sparse=self.sparse_embedding)
        read = []
        for block, plan in zip(self.blocks, plans, strict=True):
            h, (x1, x2) = block(h, plan, None)
            read.append((x1[:, 0], x2[:, 0]))
        return read

    def _run(self, sequences: Tensor, last_only: bool, prefix: int, pads: Pads | None) -> Tensor:
        dilations, length, device = self.config.dilations, sequences.shape[1], sequences.device
        rows, plans = receptive_cone(dilations, length, last_only, prefix, device)
        if prefix and pads is None:
            pads = self.pad_rows(prefix)
        items = sequences[:, prefix:].t()[rows].contiguous()
        h = F.embedding(items, self.embedding, sparse=self.sparse_embedding)
        for number, (block, plan) in enumerate(zip(self.blocks, plans, strict=True)):
            beside = None if not prefix else tuple(x[:prefix] for x in pads[number])
            h, _ = block(h, plan, beside)
        return h


class ModelFileError(ValueError):
    """A model file that is missing, damaged, or does not fit its description. Names the file and the field."""


def save_model(
    model: UserModel, folder: Path, extra: dict[str, Tensor] | None = None, about: dict | None = None
) -> None:
    """Writes model.safetensors (weights, ``extra`` tensors) and model.json (sizes, tasks, ``about``)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {n: p.detach().cpu().contiguous() for n, p in model.named_parameters()}
    save_file(tensors | (extra or {}), folder / "model.safetensors")
    outputs = {
        task: {"n_labels": len(layer.weight), "bias": layer.bias is not None}
        for task, layer in model.outputs.items()
    }
    description = {"format": FORMAT, "model": asdict(model.config), "n_items": model.n_items, "outputs": outputs}
    description["patches"] = model.patch_kind()
    (folder / "model.json").write_text(json.dumps(description | (about or {}), indent=1, sort_keys=True) + "\n")


def load_model(folder: Path) -> tuple[UserModel, dict[str, Tensor], dict]:
    """The model, the extra tensors, and the whole description. Raises ModelFileError."""
    try:
        about = read_json(folder / "model.json")
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        mend = "wanted model.json and model.safetensors as they were written"
        raise ModelFileError(f"{folder}: cannot be read as a saved model: found {error}, {mend}") from error
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
            raise ModelFileError(f"{folder / 'model.safetensors'}: {name}: found {found}; wanted {wanted}")
        if not value.isfinite().all():
            raise ModelFileError(f"{folder / 'model.safetensors'}: {name}: found nan or inf; wanted numbers")
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensors.pop(name))
    return model, tensors, about
