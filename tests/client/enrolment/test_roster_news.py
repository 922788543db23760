"""A removal reaches a site between a run's messages; nobody comes that way."""

import json
from pathlib import Path

import pytest
from tests.client.enrolment.joined_site import OTHERS, Joined, site_in
from tests.common.consortium.consortium_office import DAY, NOW, certificate_of, key_of

from fedward_client.enrolment.accepted_members import (
    accepted_members,
    newest_members,
    waiting_members,
)
from fedward_client.enrolment.roster_news import take_removals
from fedward_common.consortium.certificates import SiteCertificate
from fedward_common.errors import FedwardError, MalformedMessageError

COORDINATOR = OTHERS[1]


@pytest.fixture
def site(tmp_path: Path) -> Joined:
    return site_in(tmp_path / "home").join()


def roster(site: Joined, version: int, *others: SiteCertificate) -> bytes:
    site.others, site.version = others, version
    return site.roster(site.certificate())


def take(site: Joined, signed: bytes, now: float = NOW) -> tuple[int, tuple[str, ...]]:
    return take_removals(site.home, signed, now_seconds=now)


def seen(site: Joined) -> int:
    return int(json.loads(site.files()["consortium/newest-roster.json"])["version"])


def code_of(site: Joined, signed: bytes, now: float = NOW) -> str:
    before = site.files()
    with pytest.raises(FedwardError) as caught:
        take(site, signed, now)
    assert site.files() == before
    return caught.value.code


def test_who_is_gone_from_a_newer_roster_is_gone_here_without_consent(site: Joined) -> None:
    assert take(site, roster(site, 3, COORDINATOR)) == (3, ("birch",))
    accepted = accepted_members(site.home)
    assert accepted is not None
    assert [one[0] for one in accepted.members] == ["alder", "coordinator"]
    assert seen(site) == 3
    assert b'"gone":["birch"]' in site.files()["audit.jsonl"]


def test_a_newer_roster_that_removes_nobody_changes_nothing(site: Joined) -> None:
    before = site.files()
    again = roster(site, 3, *OTHERS)
    more = roster(site, 4, *OTHERS, certificate_of("cedar"))
    assert take(site, again) == (3, ())
    assert take(site, more) == (4, ())
    assert site.files() == before


def test_who_comes_with_a_removal_waits_for_this_sites_word_and_the_removal_does_not(
    site: Joined,
) -> None:
    assert take(site, roster(site, 3, COORDINATOR, certificate_of("cedar"))) == (3, ("birch",))
    waiting, newest = waiting_members(site.home), newest_members(site.home)
    assert waiting is not None
    assert waiting == newest
    assert "birch" not in {one[0] for one in waiting.members}


def test_a_site_with_another_key_is_gone_as_it_was(site: Joined) -> None:
    changed = certificate_of("birch", key=key_of("thief").verifying_key)
    assert take(site, roster(site, 3, changed, COORDINATOR)) == (3, ("birch",))


def test_the_same_removal_twice_is_noted_once(site: Joined) -> None:
    signed = roster(site, 3, COORDINATOR)
    take(site, signed)
    assert take(site, signed) == (3, ())
    assert site.files()["audit.jsonl"].count(b"gone") == 1


def test_an_older_forked_expired_or_spoiled_roster_takes_nobody_out(site: Joined) -> None:
    take(site, roster(site, 4, COORDINATOR))
    assert code_of(site, roster(site, 3, COORDINATOR)) == "ROSTER_OLD"
    assert code_of(site, roster(site, 4, *OTHERS)) == "ROSTER_FORKED"
    fresh = roster(site, 5, COORDINATOR)
    assert code_of(site, fresh, NOW + 301 * DAY) == "ROSTER_EXPIRED"
    with pytest.raises(MalformedMessageError):
        take(site, fresh[:-1])
    spoiled = bytearray(fresh)
    spoiled[-1] ^= 1
    assert code_of(site, bytes(spoiled)) == "ROSTER_SIGNATURE"


def test_who_is_no_member_takes_nothing(tmp_path: Path, site: Joined) -> None:
    other = site_in(tmp_path / "other")
    other.begin()
    with pytest.raises(FedwardError) as caught:
        take(other, roster(site, 3, COORDINATOR))
    assert caught.value.code == "NO_CERTIFICATE"
