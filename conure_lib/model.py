"""NextItNet: item embedding, residual blocks of dilated causal convolutions, one output layer per task."""

import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ConfigError, ModelConfig
from .data.stream import Kind

LAYER_NORM_EPS = 1e-8
TAPS = 3  # the paper's 1x3 kernels
Rows = slice | Tensor
Plan = tuple[tuple[int, Rows], ...]


class CausalConv(torch.autograd.Function):
    """y[t] = x[t] Z[2] + x[t - d] Z[1] + x[t - 2d] Z[0], with zeros before the first position.

    Time-major, x is [positions, batch, k]: each tap is one product of contiguous matrices, added in place, so
    there is no padding and no im2col. ``plan`` gives, for taps 2, 1, 0, the first output position that the
    tap reaches and the input positions it reads; thereby the same code serves every subset of positions.
    """

    @staticmethod
    def forward(ctx, x: Tensor, kernel: Tensor, plan: Plan, n_out: int) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.plan = plan
        width = x.shape[2]
        y = torch.mm(x[plan[0][1]].reshape(-1, width), kernel[2]).view(n_out, x.shape[1], kernel.shape[2])
        for tap, (first, rows) in zip((1, 0), plan[1:], strict=True):
            if first < n_out:
                y[first:].flatten(0, 1).addmm_(x[rows].reshape(-1, width), kernel[tap])
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, kernel = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        grad_kernel = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        for tap, (first, rows) in zip((2, 1, 0), ctx.plan, strict=True):
            if first >= len(grad):
                continue
            g = grad[first:].flatten(0, 1)
            if grad_x is not None and isinstance(rows, slice):
                grad_x[rows].flatten(0, 1).addmm_(g, kernel[tap].t())
            elif grad_x is not None:  # a tap reads no position twice, so this sum has one term per row
                grad_x.index_add_(0, rows, (g @ kernel[tap].t()).view(-1, *x.shape[1:]))
            if grad_kernel is not None:
                torch.mm(x[rows].reshape(-1, x.shape[2]).t(), g, out=grad_kernel[tap])
        return grad_x, grad_kernel, None, None


@lru_cache(maxsize=64)
def receptive_cone(
    dilations: tuple[int, ...], length: int, last_only: bool, device: torch.device
) -> tuple[Rows, tuple[tuple[Plan, int, Plan, int, Rows], ...]]:
    """Which positions each convolution must compute, worked out backwards from the wanted outputs.

    dilations: first dilation of each block. Returns the positions of the input sequence that are read, and per
    block: plan and output size of both convolutions, and the block's input rows that its skip connection adds.
    With ``last_only`` only what feeds the last position is in it: the receptive cone.
    """
    wanted = [length - 1] if last_only else list(range(length))
    blocks = []
    for d in reversed(dilations):
        middle = _reach(wanted, 2 * d)
        first = sorted(set(_reach(middle, d)) | set(wanted))
        skip = _rows(wanted, first, device)
        plans = _plan(first, middle, d, device), _plan(middle, wanted, 2 * d, device)
        blocks.append((plans[0], len(middle), plans[1], len(wanted), skip))
        wanted = first
    return _rows(wanted, list(range(length)), device), tuple(reversed(blocks))


def _reach(positions: list[int], dilation: int) -> list[int]:
    return sorted({p - tap * dilation for p in positions for tap in range(TAPS) if p >= tap * dilation})


def _plan(inputs: list[int], outputs: list[int], dilation: int, device: torch.device) -> Plan:
    plan = []
    for back in range(TAPS):  # how many dilations this tap looks back: kernel[2], kernel[1], kernel[0]
        read = [p - back * dilation for p in outputs if p >= back * dilation]
        plan.append((len(outputs) - len(read), _rows(read, inputs, device)))
    return tuple(plan)


def _rows(positions: list[int], available: list[int], device: torch.device) -> Rows:
    """Where ``positions`` stand in ``available``: a slice if they are neighbours (no copy), else a tensor."""
    rows = [available.index(p) for p in positions]
    start = rows[0] if rows else 0
    if rows == list(range(start, start + len(rows))):
        return slice(start, start + len(rows))
    return torch.tensor(rows, device=device)


class Block(nn.Module):
    """h + conv_2d(relu(ln(conv_d(relu(ln(h)))))) (paper, section 3.2; NextItNet's second residual block).

    The kernels are [3, k, k] (tap, in, out). The convolutions have no bias: the authors' code keeps them at 0.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=LAYER_NORM_EPS) for _ in range(2))
        shape = (TAPS, width, width)
        self.kernel1, self.kernel2 = (nn.Parameter(_normal(shape, 0.02, generator, cut=True)) for _ in range(2))

    def forward(self, h: Tensor, plan1: Plan, n1: int, plan2: Plan, n2: int, skip: Rows) -> Tensor:
        inner = CausalConv.apply(F.relu(self.norm1(h)), self.kernel1, plan1, n1)
        return h[skip] + CausalConv.apply(F.relu(self.norm2(inner)), self.kernel2, plan2, n2)


class OutputLayer(nn.Module):
    """Scores of a task's labels: g W^T + b (paper, eq. 2); W is [n_labels, k], b [n_labels] or absent."""

    def __init__(self, n_labels: int, width: int, kind: Kind, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(_normal((n_labels, width), 0.01, generator))
        start = 0.1 if kind == "sequence" else 0.0
        self.bias = None if kind == "ranking" else nn.Parameter(torch.full((n_labels,), start))

    def forward(self, vectors: Tensor) -> Tensor:
        return F.linear(vectors, self.weight, self.bias)


class UserModel(nn.Module):
    """One backbone and the output layers of the tasks it has met so far.

    Raises nothing by itself: ids outside 0..n_items end in PyTorch's IndexError.
    """

    def __init__(self, config: ModelConfig, n_items: int, generator: torch.Generator) -> None:
        super().__init__()
        self.config, self.n_items = config, n_items
        self.sparse_embedding = False  # gradient of the embedding as rows (``TrainConfig.table_updates``)
        self.embedding = nn.Parameter(_normal((n_items + 1, config.width), 0.02, generator))
        self.blocks = nn.ModuleList(Block(config.width, generator) for _ in config.dilations)
        self.outputs = nn.ModuleDict()

    def add_output(self, task: str, n_labels: int, kind: Kind, generator: torch.Generator) -> None:
        """A new output layer for a task; replaces one of the same name."""
        layer = OutputLayer(n_labels, self.config.width, kind, generator)
        self.outputs[task] = layer.to(self.embedding.device)

    def kernels(self) -> dict[str, nn.Parameter]:
        """The convolution kernels by parameter name, in order of depth."""
        return {n: p for n, p in self.named_parameters() if n.rpartition(".")[2].startswith("kernel")}

    def hidden(self, sequences: Tensor) -> Tensor:
        """Hidden vectors of every position, time-major: [B, L] item ids -> [L, B, k] (matrix E, section 3.2)."""
        return self._run(sequences, last_only=False)

    def user_vectors(self, sequences: Tensor) -> Tensor:
        """The vector at the last position (g, section 3.2), for tasks after T1: [B, L] item ids -> [B, k].

        With ``config.separator`` an id 0 is appended and read instead.
        """
        return self.last_hidden(F.pad(sequences, (0, 1)) if self.config.separator else sequences)

    def last_hidden(self, sequences: Tensor) -> Tensor:
        """The last position of ``hidden`` at the cost of its receptive cone: [B, L] item ids -> [B, k]."""
        return self._run(sequences, last_only=True)[0]

    def _run(self, sequences: Tensor, last_only: bool) -> Tensor:
        rows, plans = receptive_cone(self.config.dilations, sequences.shape[1], last_only, sequences.device)
        h = F.embedding(sequences.t()[rows].contiguous(), self.embedding, sparse=self.sparse_embedding)
        for block, plan in zip(self.blocks, plans, strict=True):
            h = block(h, *plan)
        return h


def _normal(shape: tuple[int, ...], sd: float, generator: torch.Generator, cut: bool = False) -> Tensor:
    """Normal values; with ``cut`` truncated at two standard deviations, as TensorFlow's initialiser."""
    values = torch.empty(shape)
    if cut:
        return nn.init.trunc_normal_(values, 0.0, sd, -2 * sd, 2 * sd, generator=generator)
    return values.normal_(0.0, sd, generator=generator)


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
    description = {"format": 1, "model": asdict(model.config), "n_items": model.n_items, "outputs": outputs}
    (folder / "model.json").write_text(json.dumps(description | (about or {}), indent=1, sort_keys=True) + "\n")


def load_model(folder: Path) -> tuple[UserModel, dict[str, Tensor], dict]:
    """The model, the extra tensors, and the whole description. Raises ModelFileError."""
    try:
        about = json.loads((folder / "model.json").read_text())
        tensors = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelFileError(f"{folder}: cannot be read as a saved model: {error}") from error
    try:
        sizes = dict(about["model"], dilations=tuple(about["model"]["dilations"]))
        nothing = torch.Generator().manual_seed(0)
        model = UserModel(ModelConfig(**sizes), about["n_items"], nothing)
        for task, output in about["outputs"].items():
            model.add_output(task, output["n_labels"], "classification" if output["bias"] else "ranking", nothing)
    except (KeyError, TypeError, ConfigError) as error:
        raise ModelFileError(f"{folder / 'model.json'}: not a description of a model: {error!r}") from error
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            value = tensors.pop(name, None)
            if value is None or value.shape != parameter.shape or value.dtype != parameter.dtype:
                found = "nothing" if value is None else f"{value.dtype} {tuple(value.shape)}"
                wanted = f"{parameter.dtype} {tuple(parameter.shape)}"
                raise ModelFileError(f"{folder / 'model.safetensors'}: {name}: found {found}; wanted {wanted}")
            parameter.copy_(value)
    return model, tensors, about
