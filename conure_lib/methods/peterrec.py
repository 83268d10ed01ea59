"""PeterRec: T1's network frozen, a small patch at every convolution trained per task."""

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe
from conure_lib.training.determinism import seeded


def patched(c: Context) -> Outcome:
    """Train new patches, behind or beside T1's convolutions, and the output layer."""
    model, kind = c.parent.model, c.action.removeprefix("patched-")
    model.add_patches(kind, seeded(c.seed, c.task.name, "patches"))
    patches = tuple(name for name, _ in model.named_parameters() if ".patch" in name)
    return c.train_new_output(model, also=patches)


def _record(name: str, action: str, *look: object, **settings) -> Method:
    stored = {"backbone": "shared", "patches": True}
    return Method(name, recipe(action), *look, {action: patched}, **settings, **stored)


PETERREC = _record("PeterRec", "patched-serial", "#9966EE", "^", (2, 1), search={})
PETERREC_PARALLEL = _record(
    "PeterRec-parallel", "patched-parallel", "#661144", "v", (2, 2), settings_of="PeterRec"
)
