"""What the tests of figures share."""

import numpy as np
import pytest
from matplotlib import pyplot as plt

from conure_lib.figures.style import COLUMN, PAGE


@pytest.fixture(autouse=True)
def every_figure():
    """Each is one or two columns wide, has no text below 7 pt, and is closed."""
    yield
    for figure in map(plt.figure, plt.get_fignums()):
        found = figure.findobj(lambda one: hasattr(one, "get_fontsize"))
        assert min(text.get_fontsize() for text in found if text.get_text()) >= 7
        assert figure.get_figwidth() in (COLUMN, PAGE)
    plt.close("all")


def texts(items):
    """The text of labels, titles or legend entries."""
    return [item.get_text() for item in items]


def values(data):
    return np.asarray(data, float).tolist()


def labelled(axis, label):
    """The one line of an axis with this label."""
    (line,) = [one for one in axis.lines if one.get_label() == label]
    return line


def dots(axis):
    """The positions of everything drawn as single dots, an array of (x, y)."""
    found = [one for one in axis.lines if one.get_marker() not in ("None", "", None)]
    return np.concatenate([one.get_xydata() for one in found])
