"""Figures: functions of tidy tables, one style for all, the data beside each figure."""

from conure_lib.figures.convergence import carried_on, draw_convergence
from conure_lib.figures.data import draw_data
from conure_lib.figures.diagrams import draw_methods
from conure_lib.figures.forgetting import draw_forgetting, draw_forgetting_curve
from conure_lib.figures.ledger import draw_ledger
from conure_lib.figures.overall import draw_no_forgetting, draw_overall
from conure_lib.figures.pruning import (
    draw_capacity,
    draw_embedding_pruning,
    draw_overparameterization,
    draw_owners,
    draw_retraining,
    draw_sweep,
)
from conure_lib.figures.style import COLUMN, METHOD_COLORS, PAGE, save_figure, style, write_figure
from conure_lib.figures.transfer import draw_dials, draw_orders, draw_transfer, draw_truth

__all__ = ["COLUMN", "METHOD_COLORS", "PAGE", "save_figure", "style", "write_figure"]
__all__ += ["draw_data"]
__all__ += ["draw_ledger"]
__all__ += ["draw_forgetting", "draw_forgetting_curve"]
__all__ += ["draw_no_forgetting", "draw_overall"]
__all__ += [
    "draw_capacity",
    "draw_embedding_pruning",
    "draw_overparameterization",
    "draw_owners",
    "draw_retraining",
    "draw_sweep",
]
__all__ += ["carried_on", "draw_convergence", "draw_methods"]
__all__ += ["draw_dials", "draw_orders", "draw_transfer", "draw_truth"]
