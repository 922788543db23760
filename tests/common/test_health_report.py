"""What a daemon says of itself, as JSON and as metrics."""

import json
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_common.health_report import Figure, HealthReport, figure

REPORT = HealthReport(
    "fedward_site",
    {"node": "", "disk": "DISK_LOW"},
    (
        figure("free_bytes", "Free.", 12.0),
        figure("connected_seconds", "Unknown yet.", None),
        Figure("jobs", "By state.", {"waiting": 2, 'a"b\\c\nd': 1}, "state"),
        figure("contributions_total", "Left.", 3.5),
    ),
)


def test_a_condition_that_does_not_hold_makes_the_whole_unhealthy() -> None:
    assert not REPORT.is_healthy
    assert HealthReport("x", {"node": "", "disk": ""}).is_healthy
    assert json.loads(REPORT.json_bytes()) == {
        "healthy": False,
        "conditions": {"node": "", "disk": "DISK_LOW"},
        "figures": {
            "free_bytes": 12,
            "connected_seconds": None,
            "jobs": {"waiting": 2, 'a"b\\c\nd': 1},
            "contributions_total": 3.5,
        },
    }


def test_metrics_are_lines_of_the_exposition_format() -> None:
    # Written by hand after https://prometheus.io/docs/instrumenting/exposition_formats/
    assert REPORT.metrics_text() == (
        "# HELP fedward_site_healthy 1 where every condition holds.\n"
        "# TYPE fedward_site_healthy gauge\n"
        "fedward_site_healthy 0\n"
        "# HELP fedward_site_condition 1 where the condition holds.\n"
        "# TYPE fedward_site_condition gauge\n"
        'fedward_site_condition{condition="node"} 1\n'
        'fedward_site_condition{condition="disk"} 0\n'
        "# HELP fedward_site_free_bytes Free.\n"
        "# TYPE fedward_site_free_bytes gauge\n"
        "fedward_site_free_bytes 12\n"
        "# HELP fedward_site_jobs By state.\n"
        "# TYPE fedward_site_jobs gauge\n"
        'fedward_site_jobs{state="waiting"} 2\n'
        'fedward_site_jobs{state="a\\"b\\\\c\\nd"} 1\n'
        "# HELP fedward_site_contributions_total Left.\n"
        "# TYPE fedward_site_contributions_total counter\n"
        "fedward_site_contributions_total 3.5\n"
    )


_LINE = re.compile(
    r'(# (HELP|TYPE) [a-z_0-9]+ .+|[a-z_0-9]+(\{[a-z_]+="(\\[\\n"]|[^"\\\n])*"\})? [-+.e0-9]+)'
)


@given(st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)))
def test_no_label_breaks_out_of_its_line(values: dict[str, float]) -> None:
    report = HealthReport("p", {}, (Figure("x", "All.", values, "of"),))
    for line in report.metrics_text().removesuffix("\n").split("\n"):
        assert _LINE.fullmatch(line), line


@pytest.mark.parametrize("name", ["", "Free", "a b", "a{", "1a"])
def test_a_name_that_no_metric_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        figure(name, "x", 1)


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        HealthReport("p", {}, (figure("x", "y", math.inf),)).metrics_text()
