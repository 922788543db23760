import dataclasses
import math
from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog  # type: ignore[import-untyped]

from fedward_client.cohorts.registered.cohort_counts import CohortCounts
from fedward_client.cohorts.reports.coordinator_report import banded, quantiles
from fedward_client.cohorts.reports.disclosure_control import (
    Sum,
    ranges_for_reader,
    rounded,
    shown_names,
)
from fedward_common.patient_bands import band_of

cells = st.lists(st.integers(0, 60) | st.integers(0, 2000), min_size=1, max_size=6)
tables = st.lists(cells, min_size=1, max_size=4)


def federated(total: int, tables: list[list[int]]) -> tuple[dict[str, int], list[Sum]]:
    """Tables that all cut one total: what each lacks of it is a cell of its own."""
    counts = {"units": total}
    sums = []
    for number, table in enumerate(tables):
        names = [f"{number}/{place}" for place in range(len(table) + 1)]
        counts |= dict(zip(names, [*table, total - sum(table)], strict=True))
        sums.append(Sum("units", tuple(names)))
    return counts, sums


def lowest_and_highest(
    name: str, counts: Mapping[str, int], sums: list[Sum], shown: frozenset[str]
) -> tuple[float, float]:
    """What linear programming can work out of the shown counts; the oracle."""
    names = list(counts)
    bounds: list[tuple[float, float | None]] = []
    for one in names:
        if one not in shown:
            bounds.append((0.0, None))
        elif counts[one] == 0:
            bounds.append((0.0, 0.0))
        elif one == "units":
            value = rounded(counts[one])
            bounds.append((max(10.0, value - 2.0), value + 2.0))
        else:
            band = band_of(counts[one])
            bounds.append((float(band.low), float(band.high)))
    equations = np.zeros((len(sums), len(names)))
    for row, one_sum in enumerate(sums):
        equations[row, names.index(one_sum.total)] = 1
        for part in one_sum.parts:
            equations[row, names.index(part)] = -1
    ends = []
    for sign in (1, -1):
        goal = np.zeros(len(names))
        goal[names.index(name)] = sign
        solved = linprog(goal, A_eq=equations, b_eq=np.zeros(len(sums)), bounds=bounds)
        ends.append(sign * solved.fun if solved.status == 0 else math.inf)
        assert solved.status in (0, 3)
    return ends[0], ends[1]


@given(tables=tables, more=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_no_count_below_10_can_be_worked_out_from_all_that_is_shown(
    tables: list[list[int]], more: int
) -> None:
    total = max(map(sum, tables)) + more
    counts, sums = federated(total, tables)
    shown = shown_names(counts, sums, {"units"})
    for name, count in counts.items():
        if count < 10:
            assert name not in shown
            low, high = lowest_and_highest(name, counts, sums, shown)
            assert low <= 1 + 1e-6
            assert high >= 9 - 1e-6


@given(tables=tables, more=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_the_bounds_are_those_of_linear_programming(tables: list[list[int]], more: int) -> None:
    counts, sums = federated(max(map(sum, tables)) + more, tables)
    shown = frozenset(name for name, count in counts.items() if count >= 10)
    ranges = ranges_for_reader(counts, sums, {"units"}, shown)
    for name in counts:
        low, high = lowest_and_highest(name, counts, sums, shown)
        assert abs(low - ranges[name].low) < 1e-6
        assert high == ranges[name].high or abs(high - ranges[name].high) < 1e-6


@given(
    tables=tables,
    codes=st.dictionaries(st.sampled_from("ABCD"), st.integers(1, 60), max_size=4),
    excluded=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    more_images=st.integers(0, 60),
)
@settings(max_examples=60, deadline=None)
def test_no_small_count_can_be_worked_out_from_a_whole_report(
    tables: list[list[int]], codes: dict[str, int], excluded: tuple[int, int], more_images: int
) -> None:
    units = max(map(sum, tables))
    whole = [[*table, units - sum(table)] for table in tables]
    truth = CohortCounts(
        units=units,
        tables={str(n): {str(p): count for p, count in enumerate(t)} for n, t in enumerate(whole)},
        found=units + more_images + sum(codes.values()) + sum(excluded),
        used=units + more_images,
        quarantined=codes,
        excluded_by_label=excluded[0],
        excluded_by_request=excluded[1],
        archive={"W_DUPLICATE_FILE": more_images},
    )
    report = banded(truth)
    counts, sums = federated(units, tables)
    published = {"units": report["units"]}
    for number, table in report["tables"].items():
        published |= {f"{number}/{place}": band for place, band in table.items()}
    shown = frozenset(name for name, value in published.items() if value is not None)
    for name, count in counts.items():
        if count < 10:
            assert name not in shown
            low, high = lowest_and_highest(name, counts, sums, shown)
            assert low <= 1 + 1e-6
            assert high >= 9 - 1e-6
    again = dataclasses.replace(
        truth,
        found=units + 66,
        used=units + 1,
        quarantined={"E_LOCALIZER": 40},
        excluded_by_label=0,
        excluded_by_request=25,
        archive={},
    )
    assert banded(again) == report  # images, lines and files are not in it at all


def test_what_a_total_gives_away_is_hidden_with_its_neighbour() -> None:
    # 30 is 28 to 32, and 19 at most are women: at least 9 men would be known
    counts = {"units": 28, "F": 19, "M": 9}
    assert shown_names(counts, [Sum("units", ("F", "M"))], {"units"}) == {"units"}


def test_large_counts_are_all_shown() -> None:
    counts = {"units": 300, "F": 140, "M": 160}
    assert shown_names(counts, [Sum("units", ("F", "M"))], {"units"}) == set(counts)


def test_a_hidden_zero_looks_like_a_hidden_nine() -> None:
    results = []
    for men in (0, 9):
        counts = {"units": 200, "F": 120, "M": men, "unknown": 80 - men}
        shown = shown_names(counts, [Sum("units", ("F", "M", "unknown"))], {"units"})
        results.append(shown)
    assert results[0] == results[1] == {"units", "F", "unknown"}


def exact(units: int, quarantined: dict[str, int], **table: int) -> CohortCounts:
    return CohortCounts(
        units=units,
        tables={"sex": table},
        found=units + sum(quarantined.values()),
        used=units,
        quarantined=quarantined,
        excluded_by_label=0,
        excluded_by_request=3,
        archive={"E_NOT_A_FILE": 3, "W_DUPLICATE_FILE": 40},
    )


def test_a_report_gives_bands_a_rounded_total_and_no_small_count() -> None:
    report = banded(exact(247, {"E_GANTRY_TILT": 4, "E_LOCALIZER": 30}, F=120, M=120, unknown=7))
    assert report["units"] == 245
    assert report["tables"]["sex"] == {"F": "100 to 199", "M": "100 to 199", "unknown": None}
    assert report["flow"]["used"] == 245
    assert {step: n for step, n in report["flow"].items() if step != "used"} == {
        "found": None, "quarantined": None, "excluded_by_label": None, "excluded_by_request": None
    }  # fmt: skip


def test_a_cohort_of_nine_shows_nothing() -> None:
    report = banded(exact(9, {}, F=4, M=5))
    assert report["units"] is None
    assert set(report["tables"]["sex"].values()) == {None}
    assert set(report["flow"].values()) == {None}


def test_a_quantile_needs_ten_values_on_either_side() -> None:
    assert quantiles([1.0] * 20) == {"10 %": None, "25 %": None, "50 %": None, "75 %": None,
                                     "90 %": None}  # fmt: skip
    assert quantiles([float(n) for n in range(21)])["50 %"] == 10.0
    assert quantiles([0.1234] * 200)["10 %"] == 0.12


def test_a_quantile_is_the_value_of_nobody_in_particular() -> None:
    values = sorted([1.0] * 15 + [1.777] + [2.0] * 15)
    assert quantiles(values)["50 %"] == round((5 * 1.0 + 1.777 + 5 * 2.0) / 11, 2) == 1.53
