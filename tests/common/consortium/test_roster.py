"""The signed roster: what it says once verified, and every way in which it is refused."""

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    BEGIN,
    DAY,
    END,
    NOW,
    authority_of,
    certificate_of,
    key_of,
)

from fedward_common.consortium.certificates import SiteCertificate
from fedward_common.consortium.roster import (
    CLOCK_SKEW_SECONDS,
    MAX_ROSTER_BYTES,
    Roster,
    as_left_by,
    certificates_of_roster,
    make_roster,
    require_not_older,
    verify_roster,
)
from fedward_common.errors import (
    ConfigurationError,
    FedwardError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.identities import COORDINATOR
from fedward_common.wire.canonical_cbor import decode_canonically, encode_canonically

MEMBERS = tuple(certificate_of(name) for name in ("cedar", "alder", "coordinator", "birch"))
MAX_AGE = 30 * DAY


def signed_roster(members: Any = MEMBERS, **changes: Any) -> bytes:
    settled: dict[str, Any] = {
        "version": 3, "issued_at_seconds": NOW, "max_age_seconds": MAX_AGE,
    }  # fmt: skip
    return make_roster(AUTHORITY_KEY, AUTHORITY, members, **settled | changes)


SIGNED = signed_roster()


def verified(signed: bytes = SIGNED, now_seconds: float = NOW) -> Roster:
    return verify_roster(signed, AUTHORITY, now_seconds=now_seconds)


def hand_made(
    *, key: Any = AUTHORITY_KEY, context: str = "fedward roster v1", **changes: Any
) -> bytes:
    """Sign a body whatever it says; `...` leaves a field out."""
    body = decode_canonically(decode_canonically(SIGNED)["body"]) | changes
    encoded = encode_canonically({name: value for name, value in body.items() if value is not ...})
    return encode_canonically({"body": encoded, "signature": key.sign(encoded, context=context)})


def code_of(signed: bytes, now_seconds: float = NOW) -> str:
    with pytest.raises(FedwardError) as caught:
        verified(signed, now_seconds)
    assert isinstance(caught.value, MalformedMessageError | UnverifiedMessageError)
    return caught.value.code


def ders(*members: SiteCertificate) -> list[bytes]:
    return [member.der for member in members]


def test_a_roster_says_who_belongs_sorted_by_site() -> None:
    roster = verified()
    assert [entry.site for entry in roster.entries] == ["alder", "birch", "cedar", "coordinator"]
    assert (roster.consortium, roster.version) == ("harbour", 3)
    assert (roster.issued_at_seconds, roster.max_age_seconds) == (NOW, MAX_AGE)
    assert roster.sha256 == hashlib.sha256(SIGNED).hexdigest()
    assert roster.sites == ("alder", "birch", "cedar")
    assert list(roster.keys_of_sites) == ["alder", "birch", "cedar"]


def test_an_entry_has_what_the_certificate_says() -> None:
    entry = verified().entry_of("birch")
    assert (entry.organisation, entry.role) == ("birch hospital", "site")
    assert entry.key.raw == key_of("birch").verifying_key.raw
    assert verified().entry_of(COORDINATOR).role == "coordinator"


@pytest.mark.parametrize("name", ["dogwood", "", "Alder", "alder ", "x" * 10_000])
def test_who_is_not_in_it_has_no_entry(name: str) -> None:
    with pytest.raises(UnverifiedMessageError) as caught:
        verified().entry_of(name)
    assert caught.value.code == "NOT_IN_ROSTER"
    assert len(str(caught.value)) < 120


def test_the_order_in_which_members_are_given_does_not_matter() -> None:
    assert signed_roster(tuple(reversed(MEMBERS))) == SIGNED


def test_its_certificates_come_back_as_they_were_issued() -> None:
    found = certificates_of_roster(SIGNED, AUTHORITY, now_seconds=NOW)
    assert [one.der for one in found] == ders(*sorted(MEMBERS, key=lambda one: one.site))


def test_a_hundred_sites_fit_and_verify() -> None:
    sites = [certificate_of(f"site-{number:03d}") for number in range(100)]
    roster = verified(signed_roster([*sites, certificate_of("coordinator")]))
    assert len(roster.sites) == 100


@pytest.mark.parametrize("now_seconds", [NOW - CLOCK_SKEW_SECONDS, NOW, NOW + MAX_AGE])
def test_a_roster_counts_until_its_greatest_age(now_seconds: float) -> None:
    assert verified(now_seconds=now_seconds).version == 3


# -- what is refused -------------------------------------------------------------------------------

BOB = certificate_of("birch", key=key_of("alder").verifying_key)
LOUD = certificate_of("ALDER", organisation="other")
SAME_HOUSE = certificate_of("dogwood", organisation="Alder Hospital")
ALDER, BIRCH, COORDINATING = (certificate_of(n) for n in ("alder", "birch", "coordinator"))
LEAVING = certificate_of("alder", not_after_seconds=NOW - 1)


@pytest.mark.parametrize(
    ("signed", "code"),
    [
        (b"", "MALFORMED_MESSAGE"),
        (b"\xa0", "MALFORMED_MESSAGE"),
        (SIGNED[:-1], "MALFORMED_MESSAGE"),
        (SIGNED + b"\0", "MALFORMED_MESSAGE"),
        (SIGNED.ljust(MAX_ROSTER_BYTES + 1, b"\0"), "MALFORMED_MESSAGE"),
        (hand_made(key=key_of("alder")), "ROSTER_SIGNATURE"),
        (hand_made(key=key_of("coordinator")), "ROSTER_SIGNATURE"),
        (hand_made(context="fedward envelope v1"), "ROSTER_SIGNATURE"),
        (
            encode_canonically(decode_canonically(SIGNED) | {"signature": b""}),
            "ROSTER_SIGNATURE",
        ),
        (hand_made(version=0), "MALFORMED_MESSAGE"),
        (hand_made(version=-1), "MALFORMED_MESSAGE"),
        (hand_made(version=True), "MALFORMED_MESSAGE"),
        (hand_made(version="3"), "MALFORMED_MESSAGE"),
        (hand_made(max_age_seconds=0), "MALFORMED_MESSAGE"),
        (hand_made(issued_at_seconds=-1), "MALFORMED_MESSAGE"),
        (hand_made(issued_at_seconds=1.5), "MALFORMED_MESSAGE"),
        (hand_made(certificates=...), "MALFORMED_MESSAGE"),
        (hand_made(more=1), "MALFORMED_MESSAGE"),
        (hand_made(certificates=["alder"]), "MALFORMED_MESSAGE"),
        (hand_made(consortium="other"), "ROSTER_CONSORTIUM"),
        (hand_made(issued_at_seconds=NOW + CLOCK_SKEW_SECONDS + 1), "ROSTER_NOT_YET_VALID"),
        (hand_made(issued_at_seconds=NOW - MAX_AGE - 1), "ROSTER_EXPIRED"),
        (hand_made(certificates=[b"\x30\x00"]), "CERT_MALFORMED"),
        (hand_made(certificates=ders(LEAVING, COORDINATING)), "CERT_EXPIRED"),
        (hand_made(certificates=ders(BIRCH, ALDER, COORDINATING)), "ROSTER_UNSORTED"),
        (hand_made(certificates=ders(ALDER, ALDER, COORDINATING)), "ROSTER_DUPLICATE"),
        (hand_made(certificates=ders(ALDER, COORDINATING, COORDINATING)), "ROSTER_DUPLICATE"),
        (hand_made(certificates=ders(LOUD, ALDER, COORDINATING)), "ROSTER_CONFUSABLE"),
        (hand_made(certificates=ders(ALDER, COORDINATING, SAME_HOUSE)), "ROSTER_CONFUSABLE"),
        (hand_made(certificates=ders(ALDER, BOB, COORDINATING)), "ROSTER_DUPLICATE_KEY"),
        (hand_made(certificates=ders(ALDER, BIRCH)), "ROSTER_NO_COORDINATOR"),
        (hand_made(certificates=[]), "ROSTER_NO_COORDINATOR"),
    ],
)  # fmt: skip
def test_a_roster_is_refused_by_the_code_of_its_fault(signed: bytes, code: str) -> None:
    assert code_of(signed) == code


def test_a_hand_made_roster_without_a_fault_is_taken() -> None:
    assert verified(hand_made()).sha256 == verified().sha256


def test_two_sites_of_one_organisation_may_stand_in_it() -> None:
    both = [certificate_of(name, organisation="one house") for name in ("alder", "birch")]
    roster = verified(signed_roster([*both, COORDINATING]))
    assert {entry.organisation for entry in roster.entries if entry.role == "site"} == {"one house"}


def test_a_roster_of_another_authority_is_refused_even_under_the_same_name() -> None:
    other = authority_of("harbour", key_of("impostor"))
    with pytest.raises(UnverifiedMessageError) as caught:
        verify_roster(SIGNED, other, now_seconds=NOW)
    assert caught.value.code == "ROSTER_SIGNATURE"


def test_a_member_that_does_not_renew_in_time_spoils_the_roster_for_nobody_else() -> None:
    late = certificate_of("alder", not_after_seconds=NOW + DAY)
    signed = signed_roster((late, BIRCH, COORDINATING))
    assert verified(signed, NOW + 2 * DAY).sites == ("alder", "birch")


def test_a_roster_counts_no_longer_than_its_authority() -> None:
    signed = signed_roster(max_age_seconds=5000 * DAY)
    assert verified(signed, END + 1).version == 3
    assert code_of(signed, END + DAY + 1) == "CERT_AUTHORITY_EXPIRED"


@given(position=st.integers(0, len(SIGNED) - 1), bit=st.integers(0, 7))
@settings(max_examples=200)
def test_no_flipped_bit_is_believed(position: int, bit: int) -> None:
    changed = bytearray(SIGNED)
    changed[position] ^= 1 << bit
    assert code_of(bytes(changed)) in {"MALFORMED_MESSAGE", "ROSTER_SIGNATURE"}


@pytest.mark.parametrize(
    ("members", "changes", "code"),
    [
        ((ALDER, BIRCH), {}, "ROSTER_NO_COORDINATOR"),
        ((ALDER, ALDER, COORDINATING), {}, "ROSTER_DUPLICATE"),
        ((ALDER, LOUD, COORDINATING), {}, "ROSTER_CONFUSABLE"),
        ((ALDER, BOB, COORDINATING), {}, "ROSTER_DUPLICATE_KEY"),
        ((LEAVING, COORDINATING), {}, "CERT_EXPIRED"),
        (MEMBERS, {"version": 0}, "MALFORMED_MESSAGE"),
        (MEMBERS, {"max_age_seconds": 0}, "MALFORMED_MESSAGE"),
        (MEMBERS, {"issued_at_seconds": BEGIN - 1}, "CERT_NOT_YET_VALID"),
    ],
)  # fmt: skip
def test_a_roster_that_would_be_refused_is_not_issued(
    members: Any, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        signed_roster(members, **changes)
    assert caught.value.code == code


def test_only_the_authority_issues_a_roster() -> None:
    with pytest.raises(ConfigurationError) as caught:
        make_roster(
            key_of("coordinator"), AUTHORITY, MEMBERS, version=1, issued_at_seconds=NOW,
            max_age_seconds=DAY,
        )  # fmt: skip
    assert caught.value.code == "ROSTER_SIGNATURE"


# -- newer versions --------------------------------------------------------------------------------


def without(*names: str) -> tuple[SiteCertificate, ...]:
    return tuple(member for member in MEMBERS if member.site not in names)


def refusal_of(new: Roster, old: Roster | None = None) -> str:
    with pytest.raises(UnverifiedMessageError) as caught:
        as_left_by(old or verified(), new)
    return caught.value.code


def sites_left_by(members: Iterable[SiteCertificate], version: int = 4) -> tuple[str, ...]:
    """Give who is left of a run's roster."""
    left = as_left_by(verified(), verified(signed_roster(members, version=version)))
    return tuple(entry.site for entry in left.entries)


def test_a_removed_member_is_gone_from_a_run_and_named_as_removed() -> None:
    left = as_left_by(verified(), verified(signed_roster(without("birch"), version=4)))
    assert left.sites == tuple(site for site in verified().sites if site != "birch")
    assert left.removed == {"birch"}
    assert (left.version, left.sha256) == (verified().version, verified().sha256)
    assert left.num_sites_named == verified().num_sites_named
    assert as_left_by(left, verified(signed_roster(version=5))).entries == left.entries


def test_the_same_roster_and_one_issued_anew_for_the_same_members_leave_all() -> None:
    assert as_left_by(verified(), verified()) == verified()
    again = [certificate_of(member.site, not_after_seconds=END - 1) for member in MEMBERS]
    assert as_left_by(verified(), verified(signed_roster(again, version=4))) == verified()


def test_nobody_comes_to_a_run_by_a_newer_roster() -> None:
    more = (*MEMBERS, certificate_of("dogwood"))
    assert sites_left_by(more) == sites_left_by(MEMBERS)


@pytest.mark.parametrize(
    "changes",
    [{"key": key_of("new").verifying_key}, {"organisation": "another house"}],
)
def test_a_member_that_changed_is_somebody_else_and_gone(changes: dict[str, Any]) -> None:
    for name in ("birch", "coordinator"):
        assert name not in sites_left_by((*without(name), certificate_of(name, **changes)))


def test_a_lower_version_is_refused_even_if_it_only_removes() -> None:
    assert refusal_of(verified(signed_roster(without("birch"), version=2))) == "ROSTER_OLD"


def test_two_rosters_of_one_version_are_refused() -> None:
    assert refusal_of(verified(signed_roster(without("birch")))) == "ROSTER_FORKED"


def test_a_roster_of_another_consortium_takes_no_place() -> None:
    other = dataclasses.replace(verified(), consortium="other", version=4)
    assert refusal_of(other) == "ROSTER_CONSORTIUM"


def test_the_newest_roster_seen_is_itself_not_older() -> None:
    roster = verified()
    require_not_older(roster, version=3, sha256=roster.sha256)
    require_not_older(roster, version=2, sha256="0" * 64)


def test_entries_are_the_same_by_their_content() -> None:
    one, again, other = verified().entries[0], verified().entries[0], verified().entries[1]
    assert one.key is not again.key
    assert one == again
    assert one != other
    assert one != dataclasses.replace(one, key=other.key)
