"""MTL: each later task trained together with T1, from random weights."""

from dataclasses import replace

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.method import Method, recipe
from conure_lib.training.batches import WithT1
from conure_lib.training.determinism import seeded


def with_t1(c: Context) -> Outcome:
    """Train T1, whose loss counts ``joint_weight``, and this task at once, from random weights.

    T1 learns from the input sequences of the task's own users only, as in the paper (section 6.2).
    """
    model, first = c.new_model().model, c.stream.tasks[0]
    model.add_output(first.name, c.label_counts(first), seeded(c.seed, first.name, "output"))
    config = replace(c.study.training(first.name), table_updates="dense")
    t1 = WithT1(first, config, c.study.training(c.task.name, c.action).joint_weight)
    return c.train_new_output(model, also=(f"outputs.{first.name}.", *model.backbone()), joint=t1)


_SPACE = {"joint_weight": (0.05, 0.1, 0.25, 0.5, 1.0)}  # the paper's range
_PARTS = {"actions": {"joint": with_t1}, "search": _SPACE}  # Joint's action is "all-tasks"
MTL = Method("MTL", recipe("joint", t1=None, from_t1=False), "#000000", "P", (6, 2), **_PARTS)
