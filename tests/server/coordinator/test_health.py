"""What holds at a coordinator and what does not, as values and in a real home."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.real_federation import RealFederation, make_real_federation

from fedward_common.health_report import HealthReport
from fedward_server.coordinator.flower_control import OrderedRun
from fedward_server.coordinator.health import (
    LOW_DISK_BYTES,
    CoordinatorFacts,
    RunFacts,
    coordinator_report,
)
from fedward_server.coordinator.health_watch import CoordinatorWatch
from fedward_server.coordinator.run_stop import stop_run

NOW = 1_000_000.0
WELL = CoordinatorFacts(
    utc_seconds=NOW,
    codes={"listeners": "", "superlink": ""},
    runs=(
        RunFacts("lung", "running", 3, 2, 7, NOW - 30),
        RunFacts("new", "queued", 0, 0, 0, None),
        RunFacts("old", "finished", 3, 3, 9, NOW - 9000),
    ),
    num_registered=3,
    num_connected=2,
    tls_ends_utc_seconds=NOW + 60,
    roster_ends_utc_seconds=NOW + 70,
    free_bytes=LOW_DISK_BYTES,
    duplicate_nodes={"north": 2},
)


def test_a_coordinator_for_which_all_holds_is_healthy_and_shows_its_open_runs() -> None:
    report = coordinator_report(WELL)
    assert report.is_healthy
    assert report.to_dict()["figures"] == {
        "registered_nodes": 3,
        "connected_nodes": 2,
        "duplicate_nodes_total": {"north": 2},
        "runs": {"finished": 1, "queued": 1, "running": 1},
        "tls_certificate_seconds": 60,
        "roster_seconds": 70,
        "free_bytes": LOW_DISK_BYTES,
        "accepted_sites": {"lung": 3, "new": 0},
        "contributed_sites": {"lung": 2, "new": 0},
        "committed_rounds": {"lung": 7, "new": 0},
        "committed_round_age_seconds": {"lung": 30},
    }
    assert 'fedward_coordinator_committed_rounds{run="lung"} 7\n' in report.metrics_text()


@pytest.mark.parametrize(
    ("changes", "condition"),
    [
        ({"free_bytes": LOW_DISK_BYTES - 1}, "disk_space"),
        ({"free_bytes": None}, "disk_space"),
        ({"codes": {"listeners": "ENDED"}}, "listeners"),
    ],
)
def test_what_keeps_runs_from_going_on_has_a_code(changes: dict[str, Any], condition: str) -> None:
    report = coordinator_report(dataclasses.replace(WELL, **changes))
    assert [name for name, code in report.conditions.items() if code] == [condition]


class Watched:
    """A coordinator's home with one finished run, and the process's view of it."""

    def __init__(self, real: RealFederation) -> None:
        self.real, self.home = real, real.coordinator_home
        self.home.make_folders()
        real.write_coordinator_settings()
        self.now = float(os.path.getmtime(real.tls / "server.crt"))  # noqa: PTH204
        self.parts = {"listeners": True, "tasks": True}
        self.answers = True
        self.ordered: dict[str, OrderedRun] = {}
        self.watch = CoordinatorWatch(
            self.home, self, (ConnectionError,), lambda: self.parts, lambda: self.now
        )

    def nodes(self) -> Mapping[bytes, int]:
        if not self.answers:
            raise ConnectionError
        return {b"a": 1, b"b": 2}

    def online_nodes(self) -> frozenset[bytes]:
        return frozenset([b"a"])

    def ordered_runs(self) -> Mapping[str, OrderedRun]:
        return self.ordered

    def report(self) -> HealthReport:
        return self.watch.report()

    def wrong(self) -> dict[str, str]:
        conditions = self.report().conditions
        return {name: c for name, c in conditions.items() if c and name != "disk_space"}

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = self.report().to_dict()["figures"]
        return found


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(make_real_federation(tmp_path))


def test_a_home_without_runs_is_well(watched: Watched) -> None:
    assert watched.wrong() == {}
    figures = watched.figures()
    assert (figures["registered_nodes"], figures["connected_nodes"]) == (2, 1)
    assert figures["runs"] == {}
    assert not list(watched.home.runs.iterdir())


def test_a_run_is_shown_as_its_journal_has_it(watched: Watched) -> None:
    watched.real.tiny.set_up(watched.home.runs / "first")
    watched.ordered = {"first": OrderedRun(True, True, "")}
    figures = watched.figures()
    assert (figures["runs"], figures["committed_rounds"]) == ({"running": 1}, {"first": 0})
    watched.real.tiny.run(watched.home.runs / "first")
    assert watched.figures()["runs"] == {"finished": 1}
    stop_run(watched.home.runs / "first", now_seconds=1)
    assert watched.wrong() == {}


def test_a_part_that_ended_is_named(watched: Watched) -> None:
    watched.parts["tasks"] = False
    watched.answers = False
    assert watched.wrong() == {"tasks": "ENDED", "superlink": "ConnectionError"}
    assert watched.figures()["connected_nodes"] is None


def test_certificates_and_rosters_that_ended_are_named(watched: Watched) -> None:
    watched.now += 100 * 86_400
    assert watched.wrong()["tls_certificate"] == "CERT_EXPIRED"
    watched.home.roster_file.unlink()
    assert watched.wrong()["roster"] == "UNREADABLE"
    assert watched.figures()["roster_seconds"] is None


def test_a_journal_that_was_changed_is_named(watched: Watched) -> None:
    watched.real.tiny.run(watched.home.runs / "first")
    assert watched.wrong() == {}
    journal = watched.home.runs / "first" / "entries.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"run.accepted", b"run.Accepted"))
    assert watched.wrong() == {"journals": "CORRUPT_FILE"}


def test_a_folder_that_cannot_be_written_to_is_named(watched: Watched) -> None:
    (watched.home.runs / ".written-by-health").mkdir()  # root could write to any folder
    assert watched.wrong() == {"journal_folder": "NOT_WRITABLE"}
