"""Tables for readers: three digits, shares in per cent, intervals beside their values."""

import numpy as np
import pandas as pd
import pytest

from conure_lib.analysis.stats import Estimate, with_interval
from conure_lib.analysis.tables import show

NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ((0.02861, 0.02514, 0.0321), "MRR@5", "0.0286 [0.0251, 0.0321] MRR@5"),
        ((0.534, 0.48, 0.587), "accuracy", "0.534 [0.480, 0.587] accuracy"),
        ((2.461, 1.49, 3.43), "epochs", "2.46 [1.49, 3.43] epochs"),
        ((-0.0335, -0.0811, 0.0142), "relative", "-3.4% [-8.1%, +1.4%]"),
        ((-0.2, NAN, NAN), "relative", "-20.0%"),
        ((0.0, 0.0, 0.0), "", "0 [0, 0]"),
        ((150.0, NAN, NAN), "", "150"),
        ((NAN, NAN, NAN), "", ""),
    ],
)
def test_a_value_with_its_interval(values, unit, text):
    assert with_interval(*values, unit) == text
    if not unit:
        assert str(Estimate(*values, 5, 5)) == text


def test_a_table_as_a_reader_wants_to_see_it():
    table = pd.DataFrame(
        {
            "task": ["T2", "T3"],
            "unit": ["MRR@5", "relative"],
            "effect": [0.012345, 0.25],
            "low": [0.001, -0.125],
            "high": [0.02, 0.625],
            "p_holm": [0.0001, 0.04567],
            "n": np.array([12345, 7]),
            "seed": [1000, 2],
            "share": [0.5, NAN],
            "paper": [0.5, 0.032],
            "seeds": [6, 6],
            "seeds_low": [0.1, 0.1],
            "clear": [True, False],
            "loss": [1.23456, NAN],
            "variant": ["", ""],
            "run_ids": ["a", "b"],
            "logits_sha256": ["x", "y"],
        }
    )
    shown = show(table, {"loss": "training loss"}, percent=["loss"])
    assert shown.index.to_list() == ["T2", "T3"]
    assert shown.to_dict("list") == {
        "difference [95% interval]": ["0.0123 [0.0010, 0.0200] MRR@5", "+25.0% [-12.5%, +62.5%]"],
        "p (users, Holm)": ["< 0.001", "0.046"],
        "n": ["12,345", "7"],
        "seed": ["1000", "2"],
        "share": ["50.0%", ""],
        "the paper's": ["0.500", "+3.2%"],
        "seeds of 6": ["6", "6"],
        "clear": ["yes", "no"],
        "training loss": ["123.5%", ""],
    }


def test_a_relative_difference_stands_with_its_own_interval():
    table = pd.DataFrame({"task": ["T2"], "value": [0.2], "effect": [0.1], "low": [0.05]})
    table = table.assign(high=0.15, relative=0.5, relative_low=0.25, relative_high=0.75)
    assert show(table).iloc[0].to_dict() == {
        "value [95% interval]": "0.200",
        "difference [95% interval]": "0.100 [0.050, 0.150]",
        "relative difference [95% interval]": "+50.0% [+25.0%, +75.0%]",
    }
