"""One style, the same bytes for the same figure, and figures that stay out of committed folders."""

import pandas as pd
import pytest
from helpers import small_stream, small_study

from conure_lib import figures, paths
from conure_lib.study.study import Study


@pytest.fixture
def stream():
    return small_stream()


def test_a_figure_of_the_data_has_lengths_popularity_and_shared_users(stream):
    figure, data = figures.draw_data(stream)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["Sequence lengths", "Popularity", "Shared users, %"]
    lengths = data[data["what"] == "sequence length"]
    assert lengths["y"].sum() == len(stream.sequences)
    assert data[data["what"] == "users of T2 also in T1"]["y"].tolist() == [100]


@pytest.mark.parametrize("local", [True, False])
def test_saving_gives_the_same_bytes_below_figures_local(root, stream, local, monkeypatch):
    config = small_study()
    monkeypatch.setattr(Study, "local", local)
    study = Study(config, stream)
    kinds = (".csv", ".png", ".pdf") if local else (".csv", ".png")
    twice = []
    for _ in range(2):
        figure, data = figures.draw_data(stream)
        png = figures.save_figure(figure, study, "data", data)
        assert figures.save_figure(figure, study, "data", data) == png  # the note is not doubled
        twice.append([png.with_suffix(kind).read_bytes() for kind in kinds])
    assert twice[0] == twice[1]
    assert png.parent == paths.figures(config.profile, stream.name, local=True)
    assert png.with_suffix(".pdf").is_file() == local
    assert len(pd.read_csv(png.with_suffix(".csv"))) == len(data)
    seeds = len(config.seeds)
    assert figure.get_suptitle().startswith(f"{stream.name}, {seeds} seed")
    assert figure.get_suptitle().count(stream.name) == 1


def test_no_text_is_smaller_than_seven_points(stream):
    figure, _ = figures.draw_data(stream)
    shown = [
        text for text in figure.findobj(lambda one: hasattr(one, "get_fontsize")) if text.get_text()
    ]
    assert min(text.get_fontsize() for text in shown) >= 7
