"""One style, the same bytes for the same figure, and figures that stay out of committed folders."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from helpers import small_stream, small_study
from matplotlib.colors import to_rgb

from conure_lib import figures, paths
from conure_lib.figures.style import BOTH, TASK_COLORS, finish, panels
from conure_lib.figures.verdicts import OWNERS
from conure_lib.methods import COMPARED, CONTINUAL, FLOORS, METHODS
from conure_lib.study.study import Study

EYES = {  # Machado, Oliveira, Fernandes (2009), severity 1, for linear RGB
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
APART = 12  # CIE 1976 colour difference; about 2 is just visible on large patches


def seen(color, eye="normal"):
    """CIELAB of a colour as seen by an eye."""
    c = np.array(to_rgb(color))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(EYES[eye] @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
def test_colours_that_appear_together_differ_for_every_eye(eye):
    compared, continual = (
        {METHODS[name].color for name in names} for names in (COMPARED, (*CONTINUAL, *FLOORS[:1]))
    )
    for group in (compared, continual, {"white", *TASK_COLORS}, {"white", *OWNERS}):
        for one, other in combinations(sorted(group), 2):
            apart = np.linalg.norm(seen(one, eye) - seen(other, eye))
            assert apart >= APART, (eye, one, other)
    assert all(seen(color)[0] < 80 for color in compared | continual), "vanishes on white"


@pytest.fixture
def stream():
    return small_stream()


def test_a_figure_of_the_data_has_lengths_popularity_and_shared_users(stream):
    figure, data = figures.draw_data(stream)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:3] == ["Sequence lengths", "Popularity", "Instances per user"]
    lengths = data[data["what"] == "sequence length"]
    assert lengths["y"].sum() == len(stream.sequences)
    assert data[data["what"] == "users of T2 also in T1"]["y"].tolist() == [100]
    active = data[data["what"] == "instances per user, T2"]
    assert active["x"].sum() == len(stream["T2"].users)
    assert active["y"].iloc[-1] == 100


@pytest.mark.parametrize("local", [True, False])
def test_saving_gives_the_same_bytes_below_figures_local(root, stream, local, monkeypatch):
    config = small_study()
    monkeypatch.setattr(Study, "local", local)
    study = Study(config, stream)
    kinds = (".csv", ".png", ".pdf") if local else (".csv", ".png")
    twice, data = [], claims_of("a")
    for _ in range(2):
        figure = figures.draw_claims(data)
        png = figures.save_figure(figure, study, "data", data)
        assert figures.save_figure(figure, study, "data", data) == png  # the note is not doubled
        twice.append([png.with_suffix(kind).read_bytes() for kind in kinds])
    assert twice[0] == twice[1]
    assert png.parent == paths.drawn("figures", config.profile, stream.name, local)
    assert png.with_suffix(".pdf").is_file() == local
    assert len(pd.read_csv(png.with_suffix(".csv"))) == len(data)
    seeds = len(config.seeds)
    assert figure.get_suptitle().startswith(f"{stream.name}, {seeds} seed")
    folder = png.parent.relative_to(root) if local else f"figures/{config.profile}/{stream.name}"
    assert figures.data_link(study, "data") == f"[data.csv](../{folder}/data.csv)"
    assert figure.get_suptitle().count(stream.name) == 1


def test_a_figure_that_names_several_datasets_is_not_said_to_be_of_one(root, stream):
    study = Study(small_study(), stream)
    figure = figures.draw_claims(effects := claims_of("a", "b"))
    figures.save_figure(figure, study, "claims", effects)
    assert figure.get_suptitle().startswith(f"{BOTH}\nn: ")
    figures.save_figure(figure, study, "claims", claims_of("a"))
    assert figure.get_suptitle().startswith("synthetic, 1 seed\n")


def claims_of(*datasets):
    numbers = {"effect": 0.02, "ci_low": 0.01, "ci_high": 0.04, "paper": 0.05, "n": 99}
    return pd.DataFrame([{"claim": "C08", "title": "-", "dataset": d, **numbers} for d in datasets])


@pytest.mark.parametrize(
    ("low", "high", "mark"), [(0.2, 0.3, 0.06), (-0.3, -0.2, 0.94), (-0.1, 0.1, None)]
)
def test_an_axis_that_leaves_zero_out_is_marked_at_the_end_nearer_to_it(low, high, mark):
    figure, axes = panels(["a"], 1.0)
    axes["a"].set_ylim(low, high)
    finish(figure, breaks="y")
    assert [text.get_position() for text in axes["a"].texts] == ([(0, mark)] if mark else [])
