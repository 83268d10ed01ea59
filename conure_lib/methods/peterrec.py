"""PeterRec: T1's network frozen, a small patch at every convolution trained per task."""

from conure_lib.methods.actions import Context, Outcome, train_new_output
from conure_lib.methods.method import SEARCH, Method, each_after_first
from conure_lib.models.layers import PatchKind
from conure_lib.training.determinism import seeded


def _train_patches(c: Context, kind: PatchKind) -> Outcome:
    model = c.parent.model
    model.add_patches(kind, seeded(c.seed, c.task.name, "patches"))
    return train_new_output(c, model, also=model.patches())


def patched_serial(c: Context) -> Outcome:
    """Train patches behind T1's convolutions, and the output layer."""
    return _train_patches(c, "serial")


def patched_parallel(c: Context) -> Outcome:
    """Train patches beside T1's convolutions, and the output layer."""
    return _train_patches(c, "parallel")


PETERREC = Method(
    name="PeterRec",
    recipe=each_after_first("patched-serial"),
    color="#CC79A7",
    marker="^",
    dashes=(2, 1),
    actions={"patched-serial": patched_serial},
    search=SEARCH,
    backbone="shared",
    patches=True,
)
PETERREC_PARALLEL = Method(
    name="PeterRec-parallel",
    recipe=each_after_first("patched-parallel"),
    color="#882255",
    marker="v",
    dashes=(2, 2),
    actions={"patched-parallel": patched_parallel},
    settings_of="PeterRec",
    backbone="shared",
    patches=True,
)
