"""Fig. 6: how fast methods converge on the later tasks (notebook 03)."""

import pandas as pd
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from conure_lib.figures.style import METHOD_COLORS, PAGE, style

DASHES = ((), (4, 1.5), (1.5, 0.8), (5, 1, 1, 1))  # lines are told apart without their colours, too


def carried_on(curves: pd.DataFrame) -> pd.DataFrame:
    """Every curve of a task up to the longest one's last epoch: after early stopping its last value goes on.

    curves: ``report.curves``. A new column ``carried`` marks the epochs that were not trained.
    """
    frames = []
    last = curves.groupby("task")["epoch"].max()
    for (*_, task), curve in curves.groupby(["method", "variant", "seed", "task"], sort=False):
        whole = curve.set_index("epoch").reindex(range(last[task] + 1))
        carried = whole["task"].isna()
        whole = whole.assign(validation=whole["validation"].ffill(), carried=carried)
        kept = ["method", "variant", "seed", "task", "metric", "stage_id"]
        whole[kept] = whole[kept].ffill()
        frames.append(whole.reset_index().astype({"seed": int}))
    return pd.concat(frames, ignore_index=True)


def draw_convergence(curves: pd.DataFrame) -> tuple[Figure, pd.DataFrame]:
    """A panel a task: validation metric by epoch, mean over seeds, band of one standard deviation."""
    style()
    whole = carried_on(curves)
    tasks, dashes = (
        list(whole["task"].unique()),
        dict(zip(whole["method"].unique(), DASHES, strict=False)),
    )
    figure, axes = plt.subplots(1, len(tasks), figsize=(PAGE, 2.3), squeeze=False)
    for axis, task in zip(axes.flat, tasks, strict=True):
        rows = whole[whole["task"] == task]
        sns.lineplot(
            rows,
            x="epoch",
            y="validation",
            hue="method",
            style="method",
            palette=METHOD_COLORS,
            dashes=dashes,
            errorbar="sd",
            ax=axis,
            linewidth=1.5,
        )
        axis.set(title=f"{task}: {rows['metric'].iloc[0]}", ylabel="")
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        handles, labels = axis.get_legend_handles_labels()
        axis.get_legend().remove()
    axes[0, 0].set_ylabel("validation")
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return figure, whole
