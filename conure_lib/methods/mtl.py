"""MTL: each later task trained together with T1, from random weights."""

from dataclasses import replace

from conure_lib.methods.actions import BACKBONE, Context, Outcome, new_model, train_new_output
from conure_lib.methods.method import LEARNING_RATES, Method, Step
from conure_lib.training.batches import Joint
from conure_lib.training.determinism import seeded

_SEARCH = {"learning_rate": LEARNING_RATES, "joint_weight": (0.05, 0.1, 0.5, 1.0)}


def joint(c: Context) -> Outcome:
    """Train T1 and this task at once from random weights; T1's loss is weighted by ``joint_weight``.

    T1 learns from the input sequences of the task's own users only, as in the paper (section 6.2).
    """
    model, first = new_model(c).model, c.stream.tasks[0]
    model.add_output(first.name, first.n_labels, first.kind, seeded(c.seed, first.name, "output"))
    settings = replace(c.study.training(first.name), table_updates="dense")
    t1 = Joint(first, settings, c.settings.joint_weight)
    return train_new_output(c, model, also=(f"outputs.{first.name}.", *BACKBONE), joint=t1)


MTL = Method(
    name="MTL",
    recipe=lambda order: {task: Step("joint", task) for task in order[1:]},
    color="#000000",
    marker="P",
    dashes=(6, 2),
    actions={"joint": joint},
    search={"ranking": _SEARCH, "classification": _SEARCH},
)
