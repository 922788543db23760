"""What a daemon finds in a real home."""

import os
from pathlib import Path

import pytest
from tests.client.jobs.asking_coordinator import PRIVATE, Asking, asking

from fedward_client.daemon.clock_check import ClockState
from fedward_client.daemon.present_work import AskedNote
from fedward_client.daemon.site_watch import SiteWatch
from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.jobs.decisions import pause
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_common.health_report import HealthReport

DAY = 86_400


class Watched:
    """One site, its clock, and the daemon's view of it."""

    def __init__(self, asked: Asking) -> None:
        self.asked = asked
        asked.home.daemon_folder.mkdir(exist_ok=True)
        self.now = float(own_certificate(asked.home, now_seconds=None)[1].not_before_seconds + DAY)
        running = {"node": True, "tasks": True}
        self.clock = ClockState()
        self.watch = SiteWatch(
            asked.home, lambda: running, lambda: self.now, lambda: self.now, lambda: self.clock
        )

    def node_was_answered(self) -> None:
        AskedNote(self.asked.home.daemon_folder)()
        os.utime(self.asked.home.daemon_folder / "node-asked", (self.now, self.now))

    def report(self) -> HealthReport:
        return self.watch.report()

    def wrong(self) -> dict[str, str]:
        conditions = self.report().conditions
        return {name: c for name, c in conditions.items() if c and name != "disk_space"}


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    found = Watched(asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"'))
    found.node_was_answered()
    return found


def test_a_site_that_was_never_asked_is_well(watched: Watched) -> None:
    assert watched.wrong() == {}
    figures = watched.report().to_dict()["figures"]
    assert (figures["registered"], figures["connected"], figures["accepted_runs"]) == (1, 1, 0)


def test_a_clock_that_is_off_is_shown_with_its_offset(watched: Watched) -> None:
    watched.clock = ClockState("CLOCK_SKEW", 600)
    assert watched.wrong() == {"clock": "CLOCK_SKEW"}
    assert "fedward_site_clock_offset_seconds 600\n" in watched.report().metrics_text()


def test_a_run_that_is_under_way_is_counted_with_what_left(watched: Watched) -> None:
    assert watched.asked.propose() == watched.asked.train() == ""
    figures = watched.report().to_dict()["figures"]
    assert figures["accepted_runs"] == 1
    assert figures["updates_total"] == 1
    assert figures["jobs"] == {"under way": 1}
    assert watched.wrong() == {}


def test_a_coordinator_that_is_silent_is_noticed_and_so_is_its_return(watched: Watched) -> None:
    watched.now += 121
    assert watched.wrong() == {"connected": "NOT_CONNECTED"}
    watched.node_was_answered()
    assert watched.wrong() == {}


def test_a_certificate_that_ended_is_named_and_its_end_is_a_figure(watched: Watched) -> None:
    _, own = own_certificate(watched.asked.home, now_seconds=None)
    watched.now = own.not_after_seconds + DAY
    watched.node_was_answered()
    assert set(watched.wrong()) == {"certificate"}
    figures = watched.report().to_dict()["figures"]
    assert (figures["registered"], figures["certificate_seconds"]) == (0, -DAY)


def test_an_old_roster_counts_only_for_a_run_that_is_asked_about(watched: Watched) -> None:
    assert watched.asked.propose() == ""
    (egress,) = (watched.asked.home.folder / "egress").glob("*.jsonl")
    roster = watched.asked.coordinator.setup.roster
    watched.now = roster.issued_at_seconds + roster.max_age_seconds + 1.0
    watched.node_was_answered()
    assert "roster" not in watched.wrong()
    os.utime(egress, (watched.now, watched.now))
    assert watched.wrong()["roster"] == "ROSTER_EXPIRED"


def test_damage_is_named_by_its_code(watched: Watched) -> None:
    assert watched.asked.propose() == watched.asked.train() == ""
    home = watched.asked.home
    assert watched.wrong() == {}
    with ledger_folder(home).entries_file.open("r+b") as file:
        file.write(b"#")
    home.policy_file.write_text("[limits]\nmemory = 1\n")
    pause(home, by="ann", now=1.0)
    assert watched.report().to_dict()["figures"]["paused"] == 1
    (home.folder / "jobs" / "paused.json").write_text("{}")
    assert watched.wrong() == {
        "ledger": "LEDGER_DAMAGED", "policy": "CONFIGURATION", "jobs": "CORRUPT_FILE",
    }  # fmt: skip


def test_nothing_of_a_patient_stands_in_a_report(watched: Watched) -> None:
    assert watched.asked.propose() == watched.asked.train() == ""
    said = watched.report().json_bytes().decode() + watched.report().metrics_text()
    patients = {f"birch-{number}" for number in range(40)}
    assert not [name for name in patients if name in said]
    assert str(watched.asked.home.folder) not in said
