"""The consortium of a simulation: made once, kept, and of no use to anybody else."""

import stat
from pathlib import Path

import pytest

from fedward_common.consortium.certificates import read_authority, verify_certificate
from fedward_common.consortium.roster import Roster, RosterEntry, verify_roster
from fedward_common.crypto.signing import SigningKey, VerifyingKey
from fedward_common.errors import ConfigurationError
from fedward_common.identities import COORDINATOR, SiteId
from fedward_server.simulation.throwaway_consortium import Enrolled, enrol, private_key

NOW = 1_800_000_000
YEAR = 365 * 24 * 3600


def applicant(name: str, key: VerifyingKey | None = None, organisation: str = "") -> RosterEntry:
    key = key or SigningKey.from_raw(name.encode().ljust(32, b".")).verifying_key
    return RosterEntry(SiteId(name), organisation or name, "site", key)


ALL = (applicant("alder"), applicant("birch"))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "coordinator.key"


def enrolled(
    key_file: Path, applicants: tuple[RosterEntry, ...] = ALL, now: float = NOW
) -> Enrolled:
    return enrol(key_file, "roster.cbor", applicants, now_seconds=now)


def roster_of(found: Enrolled, now: float = NOW) -> Roster:
    return verify_roster(found.roster, read_authority(found.authority_der), now_seconds=now)


def test_every_site_and_the_coordinator_stand_in_the_roster(key_file: Path) -> None:
    found = enrolled(key_file)
    roster = roster_of(found)
    assert roster.sites == ("alder", "birch")
    assert roster.version == 1
    assert roster.entry_of("alder").key.raw == ALL[0].key.raw
    coordinator = private_key(key_file).verifying_key
    assert roster.entry_of(COORDINATOR).key.raw == coordinator.raw


def test_each_site_gets_its_certificate(key_file: Path) -> None:
    found = enrolled(key_file)
    authority = read_authority(found.authority_der)
    assert list(found.certificates) == ["alder", "birch"]
    for site, der in found.certificates.items():
        assert verify_certificate(der, authority, now_seconds=NOW).site == site


def test_what_was_made_once_is_kept_byte_for_byte(key_file: Path) -> None:
    assert enrolled(key_file) == enrolled(key_file, tuple(reversed(ALL)), NOW + YEAR)


def test_a_simulation_can_go_on_years_later_and_a_day_earlier(key_file: Path) -> None:
    found = enrolled(key_file)
    for now in (NOW - 20 * 3600, NOW + 29 * YEAR):
        assert roster_of(found, now).version == 1


def test_the_private_keys_are_their_owners_alone(key_file: Path) -> None:
    enrolled(key_file)
    for name in ("authority.key", "coordinator.key"):
        assert stat.S_IMODE((key_file.parent / name).stat().st_mode) == 0o600


def test_two_simulations_trust_different_authorities(tmp_path: Path) -> None:
    one, other = (enrolled(tmp_path / name / "coordinator.key") for name in "ab")
    assert read_authority(one.authority_der).key.raw != read_authority(other.authority_der).key.raw


@pytest.mark.parametrize(
    "changed",
    [
        (applicant("alder", applicant("other").key), ALL[1]),
        (applicant("alder", organisation="another house"), ALL[1]),
        (*ALL, applicant("cedar")),
        (ALL[0],),
    ],
    ids=["another key", "another organisation", "one more", "one fewer"],
)
def test_other_sites_get_the_next_version_of_the_roster(
    key_file: Path, changed: tuple[RosterEntry, ...]
) -> None:
    enrolled(key_file)
    roster = roster_of(enrolled(key_file, changed))
    assert roster.version == 2
    wanted = {(one.site, one.organisation, one.key.raw) for one in changed}
    entries = (entry for entry in roster.entries if entry.role == "site")
    assert {(one.site, one.organisation, one.key.raw) for one in entries} == wanted


def test_two_sets_of_homes_have_a_roster_each(key_file: Path) -> None:
    first = enrolled(key_file)
    pooled = enrol(key_file, "other.cbor", [applicant("pooled")], now_seconds=NOW)
    assert roster_of(pooled).sites == ("pooled",)
    assert enrolled(key_file) == first


def test_what_a_kill_left_out_is_made_at_the_next_start(key_file: Path) -> None:
    key = private_key(key_file.with_name("authority.key"))
    found = enrolled(key_file)
    assert read_authority(found.authority_der).key.raw == key.verifying_key.raw


@pytest.mark.parametrize("name", ["authority.key", "authority.der", "roster.cbor"])
def test_a_damaged_file_is_refused_with_a_hint(key_file: Path, name: str) -> None:
    enrolled(key_file)
    (key_file.parent / name).write_bytes(b"\xa0")
    with pytest.raises(ConfigurationError) as caught:
        enrolled(key_file)
    assert caught.value.hint


def test_another_authority_does_not_take_over_the_roster(key_file: Path) -> None:
    enrolled(key_file)
    for name in ("authority.key", "authority.der"):
        (key_file.parent / name).unlink()
    with pytest.raises(ConfigurationError, match=r"roster\.cbor cannot be used") as caught:
        enrolled(key_file)
    assert caught.value.code == "ROSTER_SIGNATURE"


def test_a_new_key_does_not_pass_for_the_one_that_was_certified(key_file: Path) -> None:
    enrolled(key_file)
    (key_file.parent / "authority.key").unlink()
    with pytest.raises(ConfigurationError, match="is not the certificate of the key"):
        enrolled(key_file)


def test_sites_that_could_be_confused_are_not_enrolled(key_file: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        enrolled(key_file, (applicant("alder", organisation="H"), applicant("birch", None, "h")))
    assert caught.value.code == "ROSTER_CONFUSABLE"
