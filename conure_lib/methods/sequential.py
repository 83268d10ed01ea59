"""Sequential fine-tuning: the next task trains the network of the last; nothing is protected."""

from conure_lib.methods.actions import Context, Outcome
from conure_lib.methods.continual import go_on, learner


def sequential(c: Context) -> Outcome:
    """Train the whole network on the next task."""
    return go_on(c, protects=False, outputs=False)


SEQUENTIAL = learner("Sequential", "sequential", sequential, "#B33A00", "1", (6, 1), search={})
