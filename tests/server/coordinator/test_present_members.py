"""Who is removed in mid-run is asked nothing more; who is new waits for the next run (F37)."""

import time
from pathlib import Path

import pytest
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    DAY,
    NOW,
    certificate_of,
    key_of,
)

from fedward_common.consortium.roster import make_roster, verify_roster
from fedward_common.identities import SiteId
from fedward_server.coordinator.present_members import PresentMembers, newest_roster_of
from fedward_server.coordinator.run_setup import authority_file_beside


class Run:
    """A run under way, and the office that issues rosters meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.key_file = folder / "coordinator.key"
        self.now = float(NOW)
        self.later_ns = 0
        authority_file_beside(self.key_file).write_bytes(AUTHORITY.der)
        self.notes: list[str] = []
        roster = verify_roster(self.issue(3, "alder", "birch", "cedar"), AUTHORITY, now_seconds=NOW)
        newest = newest_roster_of(
            self.key_file, lambda: self.now, now_ns=lambda: time.time_ns() + self.later_ns
        )
        self.members = PresentMembers(roster, newest, self.notes.append)

    def issue(self, version: int, *sites: str, thief: str = "") -> bytes:
        keys = {thief: key_of("thief").verifying_key} if thief else {}
        signed = make_roster(
            AUTHORITY_KEY,
            AUTHORITY,
            [
                certificate_of(one, key=keys.get(one, key_of(one).verifying_key))
                for one in (*sites, "coordinator")
            ],
            version=version,
            issued_at_seconds=int(self.now),
            max_age_seconds=30 * DAY,
        )
        self.key_file.with_name("roster.cbor").write_bytes(signed)
        return signed


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_removed_site_is_gone_at_the_next_look_and_is_named_once(run: Run) -> None:
    assert list(run.members) == ["alder", "birch", "cedar"]
    run.issue(4, "alder", "cedar")
    assert list(run.members) == ["alder", "cedar"]
    assert "birch" not in run.members
    assert len(run.members) == 2
    assert run.notes == ["roster version 4 has no birch any more: not asked"]


def test_who_is_new_waits_for_the_next_run_and_so_does_who_comes_back(run: Run) -> None:
    run.issue(4, "alder", "cedar", "dogwood")
    assert list(run.members) == ["alder", "cedar"]
    run.issue(5, "alder", "birch", "cedar", "dogwood")
    assert list(run.members) == ["alder", "cedar"]


def test_a_site_with_another_key_is_another_site(run: Run) -> None:
    run.issue(4, "alder", "birch", "cedar", thief="birch")
    assert list(run.members) == ["alder", "cedar"]


def test_an_older_damaged_or_missing_roster_changes_nothing(run: Run) -> None:
    run.issue(4, "alder", "cedar")
    assert len(run.members) == 2
    file = run.key_file.with_name("roster.cbor")
    run.issue(2, "alder", "birch", "cedar")
    assert len(run.members) == 2
    file.write_bytes(b"spoiled")
    assert len(run.members) == 2
    file.unlink()
    assert list(run.members) == ["alder", "cedar"]
    assert "ROSTER_OLD" in run.notes[1]


def test_an_unchanged_roster_is_not_checked_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.later_ns = 2_000_000_000
    list(run.members)
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("it was read again"))
    assert run.members[SiteId("alder")].raw
