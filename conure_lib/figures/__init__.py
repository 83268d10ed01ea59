"""Figures: functions of tidy tables, in one style, saved with the data behind them."""

from conure_lib.figures.curves import draw_curves as draw_curves
from conure_lib.figures.data import draw_data as draw_data
from conure_lib.figures.forgetting import draw_learners as draw_learners
from conure_lib.figures.forgetting import draw_weights as draw_weights
from conure_lib.figures.intervals import draw_effects as draw_effects
from conure_lib.figures.intervals import draw_estimates as draw_estimates
from conure_lib.figures.pruning import draw_capacity as draw_capacity
from conure_lib.figures.pruning import draw_owners as draw_owners
from conure_lib.figures.pruning import draw_sweep as draw_sweep
from conure_lib.figures.style import data_link as data_link
from conure_lib.figures.style import save_figure as save_figure
from conure_lib.figures.verdicts import draw_claims as draw_claims
from conure_lib.figures.verdicts import draw_overview as draw_overview
from conure_lib.figures.verdicts import draw_verdicts as draw_verdicts
