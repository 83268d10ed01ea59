"""What a piece of work spends its time on, by PyTorch's own profiler: what limits it."""

from collections.abc import Callable

from torch.autograd.profiler import profile

GROUPS = {
    "products": ("mm", "addmm", "addmm_", "bmm", "addmv_"),
    "elementwise": (
        "native_layer_norm",
        "native_layer_norm_backward",
        "clamp_min",
        "threshold_backward",
        "add",
        "add_",
        "mul",
        "mul_",
        "sum",
        "amax",
        "exp",
        "_softmax",
        "softplus",
        "sigmoid",
    ),
    "copies": (
        "copy_",
        "cat",
        "fill_",
        "zero_",
        "clone",
        "index",
        "index_select",
        "gather",
        "scatter_add_",
        "index_add_",
        "index_put_",
        "_index_put_impl_",
        "embedding_dense_backward",
    ),
    "best scores": ("topk", "sort"),
    "optimiser": ("_fused_adam_",),
}
"""PyTorch's operators (without "aten::"); all others, Python and the time between them are "the rest"."""


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Shares of one call's time by group, largest first; they add up to 1.

    The profiler itself takes time with each operator, so work of many small ones looks worse than it is.
    """
    with profile(use_kineto=False) as seen:
        call()
    spent = dict.fromkeys((*GROUPS, "the rest"), 0.0)
    group_of = {f"aten::{name}": group for group, names in GROUPS.items() for name in names}
    for event in seen.key_averages():
        spent[group_of.get(event.key, "the rest")] += event.self_cpu_time_total
    whole = sum(spent.values())
    return {
        name: round(time / whole, 3)
        for name, time in sorted(spent.items(), key=lambda item: -item[1])
    }
