"""PeterRec: T1's network frozen, a small patch at every convolution trained per task."""

from functools import partial

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe
from conure_lib.models.layers import PatchKind
from conure_lib.training.determinism import seeded


def patched(c: Context, kind: PatchKind) -> Outcome:
    """Train new patches, behind or beside T1's convolutions, and the output layer."""
    model = c.parent.model
    model.add_patches(kind, seeded(c.seed, c.task.name, "patches"))
    patches = tuple(name for name, _ in model.named_parameters() if ".patch" in name)
    return c.train_new_output(model, also=patches)


_SERIAL = {"actions": {"patched-serial": partial(patched, kind="serial")}, "search": {}}
_PARALLEL = {"actions": {"patched-parallel": partial(patched, kind="parallel")}}
_PARALLEL["settings_of"] = "PeterRec"
_STORED = {"backbone": "shared", "patches": True}
_RECIPES = recipe("patched-serial"), recipe("patched-parallel")
PETERREC = Method("PeterRec", _RECIPES[0], "#9966EE", "^", (2, 1), **_SERIAL, **_STORED)
PETERREC_PARALLEL = Method(
    "PeterRec-parallel", _RECIPES[1], "#661144", "v", (2, 2), **_PARALLEL, **_STORED
)
