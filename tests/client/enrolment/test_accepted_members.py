"""With whom a site takes part: removals count at once, who is new is asked for."""

from pathlib import Path

import pytest
from tests.client.enrolment.joined_site import Joined, site_in
from tests.common.consortium.consortium_office import certificate_of, key_of

from fedward_client.enrolment.accepted_members import (
    accept_waiting,
    accepted_members,
    require_accepted,
    waiting_members,
)
from fedward_client.site_policy import ConsortiumPolicy, SitePolicy
from fedward_common.consortium.roster import Roster
from fedward_common.errors import ConfigurationError, CorruptFileError, UnverifiedMessageError

ASK = SitePolicy()
BY_AUTHORITY = SitePolicy(consortium=ConsortiumPolicy(accept_roster="ca"))
CEDAR = certificate_of("cedar")


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    return site_in(tmp_path / "home").join()


def refused(site: Joined, roster: Roster) -> UnverifiedMessageError:
    with pytest.raises(UnverifiedMessageError) as caught:
        require_accepted(site.home, ASK, roster)
    assert caught.value.code == "ROSTER_NOT_ACCEPTED"
    return caught.value


def accepted(site: Joined) -> list[str]:
    known = accepted_members(site.home)
    return [] if known is None else [one[0] for one in known.members]


def test_the_strict_policy_asks() -> None:
    assert SitePolicy().consortium.accept_roster == "ask"


def test_joining_accepts_the_members_there_are(site: Joined) -> None:
    assert accepted(site) == ["alder", "birch", "coordinator"]
    require_accepted(site.home, ASK, site.verified_roster(version=2))


def test_a_new_member_waits_for_the_sites_word(site: Joined) -> None:
    roster = site.verified_roster(CEDAR, version=3)
    error = refused(site, roster)
    assert "cedar" in str(error)
    assert "--accept 3" in error.hint
    refused(site, roster)
    accept_waiting(site.home, 3)
    require_accepted(site.home, ASK, roster)
    assert waiting_members(site.home) is None


def test_where_the_authority_decides_a_new_member_is_taken(site: Joined) -> None:
    require_accepted(site.home, BY_AUTHORITY, site.verified_roster(CEDAR, version=3))
    assert accepted(site) == ["alder", "birch", "cedar", "coordinator"]


def test_a_removal_needs_nobodys_word_and_a_return_does(site: Joined) -> None:
    birch, coordinator = site.others
    site.others = (coordinator,)
    require_accepted(site.home, ASK, site.verified_roster(version=3))
    assert accepted(site) == ["alder", "coordinator"]
    refused(site, site.verified_roster(birch, version=4))


@pytest.mark.parametrize(
    "changed",
    [
        certificate_of("birch", key=key_of("new birch").verifying_key),
        certificate_of("birch", organisation="another house"),
    ],
)
def test_a_member_with_another_key_or_organisation_is_new(site: Joined, changed: object) -> None:
    (_, coordinator) = site.others
    site.others = (coordinator,)
    refused(site, site.verified_roster(changed, version=3))  # type: ignore[arg-type]


def test_a_renewed_certificate_is_nothing_new(site: Joined) -> None:
    site.others = tuple(certificate_of(one.site) for one in site.others)
    require_accepted(site.home, ASK, site.verified_roster(version=3))


def test_only_the_version_that_waits_is_accepted(site: Joined) -> None:
    with pytest.raises(ConfigurationError, match="nobody waits"):
        accept_waiting(site.home, 3)
    refused(site, site.verified_roster(CEDAR, version=3))
    refused(site, site.verified_roster(CEDAR, certificate_of("dogwood"), version=4))
    with pytest.raises(ConfigurationError, match="version 4 waits"):
        accept_waiting(site.home, 3)


def test_a_home_that_accepted_nobody_takes_part_with_nobody(site: Joined) -> None:
    (site.home.consortium / "accepted-members.json").unlink()
    refused(site, site.verified_roster(version=2))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"version": 1, "sha256": "", "members": [1]}']
)
def test_a_damaged_record_is_named(site: Joined, content: str) -> None:
    (site.home.consortium / "accepted-members.json").write_text(content)
    with pytest.raises(CorruptFileError):
        require_accepted(site.home, ASK, site.verified_roster(version=3))
