"""What a person decides at the office reaches the coordinator's home by itself."""

import shutil
from pathlib import Path

import pytest
from tests.server.coordinator.office_on_site import DAY, OfficeOnSite, office_on_site

from fedward_common.consortium.certificate_form import parse_certificate
from fedward_common.errors import ConfigurationError, CorruptFileError
from fedward_server.consortium.office_folder import Office
from fedward_server.coordinator.office_link import OfficeLink


@pytest.fixture
def made(tmp_path: Path) -> OfficeOnSite:
    return office_on_site(tmp_path, "alder", "birch")


def link_of(made: OfficeOnSite) -> OfficeLink:
    return OfficeLink(made.home, made.office, made.tell, made.utc_seconds)


def nodes(made: OfficeOnSite) -> list[str]:
    return sorted(file.stem for file in made.home.nodes.glob("*.cbor"))


def test_who_was_admitted_may_connect_and_who_was_removed_may_not(made: OfficeOnSite) -> None:
    link = link_of(made)
    link.refresh()
    assert made.lines == []
    made.admit("cedar")
    link.refresh()
    assert nodes(made) == ["alder", "birch", "cedar"]
    made.revoke("birch")
    link.refresh()
    assert nodes(made) == ["alder", "cedar"]
    assert made.home.roster_file.read_bytes() == made.state.roster
    assert made.lines == [("roster.taken", {"version": v}) for v in (4, 5)]


def test_an_office_that_did_not_change_is_not_read(
    made: OfficeOnSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = link_of(made)
    link.refresh()
    monkeypatch.setattr(Office, "state", lambda _: pytest.fail("it was read"))
    link.refresh()


def test_an_office_from_an_old_backup_does_not_take_a_removal_back(
    made: OfficeOnSite, tmp_path: Path
) -> None:
    shutil.copytree(made.office.folder, tmp_path / "backup")
    made.revoke("birch")
    link_of(made).refresh()
    present = made.home.roster_file.read_bytes()
    made.office = Office(tmp_path / "backup")
    with pytest.raises(CorruptFileError) as caught:
        link_of(made).refresh()
    assert caught.value.code == "OFFICE_BEHIND"
    assert made.home.roster_file.read_bytes() == present
    assert nodes(made) == ["alder"]


def test_the_office_of_another_consortium_is_refused(made: OfficeOnSite) -> None:
    made.home.authority_file.write_bytes(made.home.certificate_file.read_bytes())
    with pytest.raises(ConfigurationError, match="another consortium"):
        link_of(made)
    made.home.authority_file.unlink()
    with pytest.raises(ConfigurationError, match="not joined"):
        link_of(made)


def test_the_coordinator_asks_for_its_own_next_certificate_and_takes_it(
    made: OfficeOnSite,
) -> None:
    link = link_of(made)
    made.now += 60 * DAY
    made.refresh_roster()
    for _ in range(3):
        link.refresh()
    assert [event for event, _ in made.lines] == ["roster.taken", "certificate.waits"]
    assert made.state.members["coordinator"].waiting
    made.renew("coordinator")
    link.refresh()
    link.refresh()
    assert made.lines[2:] == [("certificate.renewed", {"days": 90.0})]
    renewed = parse_certificate(made.home.certificate_file.read_bytes())
    assert renewed.not_after_seconds == made.now + 90 * DAY
