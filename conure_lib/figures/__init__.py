"""Figures: functions of tidy tables, one style for all, the data beside each figure."""

from .data import draw_data
from .forgetting import draw_forgetting, draw_forgetting_curve
from .overall import draw_no_forgetting, draw_overall
from .style import COLUMN, METHOD_COLORS, PAGE, save_figure, style, write_figure
from .transfer import draw_dials, draw_orders, draw_transfer, draw_truth

__all__ = ["COLUMN", "METHOD_COLORS", "PAGE", "save_figure", "style", "write_figure"]
__all__ += ["draw_data"]
__all__ += ["draw_forgetting", "draw_forgetting_curve"]
__all__ += ["draw_no_forgetting", "draw_overall"]
__all__ += ["draw_dials", "draw_orders", "draw_transfer", "draw_truth"]
