from pathlib import Path

import pytest
from tests.client.enrolment.joined_site import Joined, site_in
from tests.common.consortium.consortium_office import NOW
from tests.sudden_end import sudden_ends

from fedward_client.enrolment.accepted_members import accepted_members
from fedward_client.enrolment.leaving import leave
from fedward_client.enrolment.membership_files import is_member
from fedward_common.errors import ConfigurationError, LockedError
from fedward_common.file_lock import held_lock

GONE = (
    "trust/site.key", "trust/node.key", "trust/coordinator.pub", "consortium/certificate.der",
    "consortium/accepted-members.json", "enrolment/request.cbor", "enrolment/invitation.txt",
    "enrolment/leaving",
)  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    return site_in(tmp_path / "home").join()


def with_ledger(site: Joined) -> dict[str, bytes]:
    """Put something into what must stay, and give it."""
    site.home.ledger.mkdir()
    (site.home.ledger / "ledger.jsonl").write_bytes(b"spent\n")
    kept = (
        "ledger/ledger.jsonl",
        "split.key",
        "policy.toml",
        "site.toml",
        "excluded_patients.json",
    )
    return {name: site.files()[name] for name in kept}


def test_leaving_removes_the_keys_and_keeps_ledger_and_audit_log(site: Joined) -> None:
    kept = with_ledger(site)
    assert leave(site.home.folder, now_seconds=NOW)
    files = site.files()
    assert not set(GONE) & set(files)
    assert kept.items() <= files.items()
    assert files["audit.jsonl"].count(b'"membership"') == 2
    assert accepted_members(site.home) is None


def test_leaving_twice_finds_nothing_to_end(site: Joined) -> None:
    leave(site.home.folder, now_seconds=NOW)
    before = site.files()
    assert not leave(site.home.folder, now_seconds=NOW)
    assert site.files() == before


def test_a_site_that_left_joins_anew_with_another_key(site: Joined) -> None:
    before = site.files()["trust/site.key"]
    leave(site.home.folder, now_seconds=NOW)
    site.version = 4
    site.join()
    assert site.files()["trust/site.key"] != before
    assert is_member(site.home)


def test_a_joining_that_was_only_begun_can_be_left(tmp_path: Path) -> None:
    site = site_in(tmp_path / "home")
    site.begin()
    assert leave(site.home.folder, now_seconds=NOW)
    assert not set(GONE) & set(site.files())


def test_a_folder_that_is_no_home_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        leave(tmp_path, now_seconds=NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_running_daemon_keeps_its_keys(site: Joined) -> None:
    before = site.files()
    with held_lock(site.home.folder / "daemon.lock"), pytest.raises(LockedError):
        leave(site.home.folder, now_seconds=NOW)
    assert site.files() == before


def test_leaving_may_be_killed_anywhere_and_nothing_else_is_done_before_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(steps: int) -> None:
        with pytest.MonkeyPatch.context() as undisturbed:
            undisturbed.setattr("os.fsync", lambda _: None)
            site = site_in(tmp_path / str(steps)).join()
            with_ledger(site)
        leave(site.home.folder, now_seconds=NOW)

    ends = 0
    for steps in sudden_ends(monkeypatch, work):
        ends += 1
        site = site_in(tmp_path / str(steps))
        if "enrolment/leaving" in site.files():
            assert not is_member(site.home)
            with pytest.raises(ConfigurationError, match="leaving"):
                site.begin()
        leave(site.home.folder, now_seconds=NOW)
        assert not set(GONE) & set(site.files())
        assert site.files()["ledger/ledger.jsonl"] == b"spent\n"
    assert ends >= 5
