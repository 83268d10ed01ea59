"""What the tests of figures share."""

import numpy as np
import pytest
from matplotlib import pyplot as plt


@pytest.fixture(autouse=True)
def close_figures():
    yield
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
