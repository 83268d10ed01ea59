"""Figures: functions of tidy tables, in one style, saved with the data behind them.

They may import everything from `config` to `analysis`; looks come from each method's record.
"""

from conure_lib.figures.curves import draw_curves
from conure_lib.figures.data import draw_data
from conure_lib.figures.forgetting import draw_learners, draw_weights
from conure_lib.figures.intervals import draw_effects, draw_estimates
from conure_lib.figures.pruning import draw_capacity, draw_owners, draw_sweep
from conure_lib.figures.style import data_link, save_figure
from conure_lib.figures.verdicts import draw_claims, draw_verdicts

__all__ = [
    "data_link",
    "draw_capacity",
    "draw_claims",
    "draw_curves",
    "draw_data",
    "draw_effects",
    "draw_estimates",
    "draw_learners",
]
__all__ += ["draw_owners", "draw_sweep", "draw_verdicts", "draw_weights", "save_figure"]
