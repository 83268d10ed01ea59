"""The command ``demo``: three tasks learned with and without protection, in a minute."""

from dataclasses import replace
from typing import Annotated

from typer import Option, Typer

from conure_lib.cli.common import report

app = Typer()
LINES = {"Sequential": "without protection", "Conure": "with protection"}
TEXT = """
{tasks}.
MRR@5: 1 if the right item is ranked first, 1/2 if second, ..., 0 if below fifth; the mean over n.

A column says how well a task is done after each task that was learned. Without protection every
task trains the whole network further: {falls}.
The same answer for everybody, the most popular one, has {floors}.
With protection (Conure: train, prune, retrain, freeze) they stay. After {last}, what {same} use was
compared with when each was learned: the same weights, owners and logits, to the last bit.
The cost: {last} could train only the {free:.0%} of the kernel weights that were free; it scores
{values}.

Read next: notebooks/91_how_it_works.ipynb (the method on twelve weights), 01_forgetting.ipynb
(why networks forget), 90_your_own_data.ipynb (your own tasks). The files, all ignored by git:"""


@app.command()
def demo(users: Annotated[int, Option(min=500, max=10**6, help="Of the generated data.")] = 3000):
    """Learn three tasks with and without protection, and show what each network still knows.

    In a minute and without a download, on generated data.
    """
    import pandas as pd

    from conure_lib import figures, paths
    from conure_lib.analysis import continual, tables
    from conure_lib.config import DataConfig, ModelConfig, StudyConfig, TrainConfig
    from conure_lib.data.registry import load
    from conure_lib.study.study import Study
    from conure_lib.user_models.train import unchanged

    # Tasks that a small network learns in seconds: most labels follow the user.
    options = {"n_users": users, "n_items": 128, "n_labels": 64, "length": 12}
    data = DataConfig("synthetic", options | {"signal": 0.9, "profile_signal": 1.0})
    later = TrainConfig(epochs=20, learning_rate=0.005, batch_size=128, final_rate=0.0)
    train = {"T1": replace(later, learning_rate=0.01), "*": later}
    settings = {"prune": {"*": 0.7}, "retrain": {}, "retrain_rate": 0.3, "seeds": (1,)}
    config = StudyConfig("demo", data, ModelConfig(), train, **settings)
    watched, clicked, _, age, *_ = (stream := load(data)).tasks
    study = Study(config, replace(stream, tasks=(watched, clicked, replace(age, name="T3"))))
    runs = study.runs([*LINES, "Popularity"])
    study.compute(runs)

    levels = continual.levels(study, study.order)
    matrix = continual.matrix(study, LINES).assign(line=lambda table: table["method"].map(LINES))
    matrix["tasks learned"] = matrix["after"].map(study.order.index) + 1
    titles = {t.name: f"{t.name} {t.title}" for t in study.stream.tasks}
    titles = {r.task: f"{titles[r.task]}\n{r.metric}, n = {r.n:,}" for r in levels.itertuples()}
    matrix, levels = (table.assign(panel=table["task"].map(titles)) for table in (matrix, levels))
    figure = figures.draw_curves(matrix, "test score", levels, x="tasks learned", bottom=0)
    file = figures.save_figure(figure, study, "demo", matrix)

    cells = pd.concat([matrix, levels.assign(after="")])
    shown = cells.pivot(index=["line", "after"], columns="task", values="value").round(3)
    value = shown.stack().map("{:.3f}".format)
    (without, protected), (*old, last) = LINES.values(), study.order
    (conure,) = tables.pick(runs, "Conure")
    falls = [f"{t} goes from {value[without, t, t]} to {value[without, last, t]}" for t in old]
    said = {
        "tasks": "; ".join(title.replace("\n", " (") + ")" for title in titles.values()),
        "falls": " and ".join(falls),
        "floors": " and ".join(value["popularity", "", t] for t in old),
        "same": " and ".join(unchanged(conure, study.stream)[:-1]),
        "last": last,
        "free": conure.stages[old[-1]].model().free_share(),
        "values": f"{value[protected, last, last]}, unprotected {value[without, last, last]}",
    }
    shown = shown.loc[[without, protected, "popularity"]].reset_index(names=["", "after"])
    files = [file, file.with_suffix(".csv"), paths.artifacts("stages")]
    report(shown, files, [TEXT.format_map(said)])
