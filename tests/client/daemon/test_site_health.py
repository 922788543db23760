"""What holds at a site and what does not."""

import dataclasses
from typing import Any

import pytest

from fedward_client.daemon.present_work import Work
from fedward_client.daemon.site_health import LOW_DISK_BYTES, SILENT_SECONDS, SiteFacts, site_report
from fedward_client.jobs.contributions import Contributions

NOW = 1_000_000.0
WELL = SiteFacts(
    utc_seconds=NOW,
    codes=dict.fromkeys(("certificate", "roster", "policy", "jobs", "ledger"), ""),
    running={"node": True, "tasks": True},
    asked_utc_seconds=NOW - 3,
    certificate_ends_utc_seconds=NOW + 86_400,
    free_bytes=LOW_DISK_BYTES,
    is_paused=False,
    jobs={"under way": 2, "waiting": 1},
    work=Work("training", NOW - 40),
    contributions=Contributions(3, 4, NOW - 60),
    clock_offset_seconds=-1,
)


def codes(**changes: Any) -> dict[str, str]:
    """Give the conditions that do not hold."""
    report = site_report(dataclasses.replace(WELL, **changes))
    found = {name: code for name, code in report.conditions.items() if code}
    assert report.is_healthy == (not found)
    return found


def figures(**changes: Any) -> dict[str, Any]:
    report = site_report(dataclasses.replace(WELL, **changes))
    report.metrics_text()
    found: dict[str, Any] = report.to_dict()["figures"]
    return found


def test_a_site_for_which_all_holds_is_healthy() -> None:
    assert codes() == {}
    assert figures() == {
        "registered": 1, "connected": 1, "paused": 0, "accepted_runs": 2, "training": 1,
        "evaluating": 0, "updates_total": 3, "masked_vectors_total": 4,
        "jobs": {"under way": 2, "waiting": 1}, "answered_seconds": 3, "at_work_seconds": 40,
        "contributed_seconds": 60, "certificate_seconds": 86_400, "free_bytes": LOW_DISK_BYTES,
        "clock_offset_seconds": -1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"asked_utc_seconds": None}, {"connected": "NOT_CONNECTED"}),
        ({"asked_utc_seconds": NOW - SILENT_SECONDS - 1}, {"connected": "NOT_CONNECTED"}),
        (
            {"running": {"node": False, "tasks": True}},
            {"connected": "NOT_CONNECTED", "processes": "CHILD_ENDED"},
        ),
        ({"running": {"node": True, "tasks": False}}, {"processes": "CHILD_ENDED"}),
        ({"free_bytes": LOW_DISK_BYTES - 1}, {"disk_space": "DISK_LOW"}),
        ({"free_bytes": None}, {"disk_space": "DISK_LOW"}),
        ({"codes": {**WELL.codes, "certificate": "CERT_EXPIRED"}}, {"certificate": "CERT_EXPIRED"}),
        ({"codes": {**WELL.codes, "roster": "ROSTER_EXPIRED"}}, {"roster": "ROSTER_EXPIRED"}),
        ({"codes": {**WELL.codes, "ledger": "LEDGER_DAMAGED"}}, {"ledger": "LEDGER_DAMAGED"}),
        ({"codes": {**WELL.codes, "clock": "CLOCK_SKEW"}}, {"clock": "CLOCK_SKEW"}),
        ({"is_paused": True}, {}),
        ({"jobs": {"waiting": 100}}, {}),
    ],
)
def test_what_keeps_a_site_from_taking_part_has_a_code(
    changes: dict[str, Any], found: dict[str, str]
) -> None:
    assert codes(**changes) == found


def test_nothing_is_trained_by_a_task_loop_that_ended() -> None:
    found = figures(running={"node": True, "tasks": False})
    assert (found["training"], found["at_work_seconds"]) == (0, None)


def test_what_is_not_known_is_no_figure() -> None:
    found = figures(
        asked_utc_seconds=None, certificate_ends_utc_seconds=None, free_bytes=None, jobs=None,
        work=None, contributions=Contributions(0, 0, None), clock_offset_seconds=None,
    )  # fmt: skip
    unknown = {name for name, value in found.items() if value is None}
    assert unknown == {
        "answered_seconds", "certificate_seconds", "free_bytes", "at_work_seconds",
        "contributed_seconds", "clock_offset_seconds",
    }  # fmt: skip
