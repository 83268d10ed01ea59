"""PeterRec: T1's network frozen, a small patch at every convolution trained per task."""

from functools import partial

from conure_lib.methods.actions import Context, Outcome, train_new_output
from conure_lib.methods.method import SEARCH, Method, after_t1
from conure_lib.models.layers import PatchKind
from conure_lib.training.determinism import seeded


def patched(c: Context, kind: PatchKind) -> Outcome:
    """Train new patches, behind or beside T1's convolutions, and the output layer."""
    model = c.parent.model
    model.add_patches(kind, seeded(c.seed, c.task.name, "patches"))
    return train_new_output(c, model, also=model.patches())


_STORED = {"backbone": "shared", "patches": True}
PETERREC = Method(
    "PeterRec",
    after_t1("patched-serial"),
    "#CC79A7",
    "^",
    (2, 1),
    actions={"patched-serial": partial(patched, kind="serial")},
    search=SEARCH,
    **_STORED,
)
PETERREC_PARALLEL = Method(
    "PeterRec-parallel",
    after_t1("patched-parallel"),
    "#882255",
    "v",
    (2, 2),
    actions={"patched-parallel": partial(patched, kind="parallel")},
    settings_of="PeterRec",
    **_STORED,
)
