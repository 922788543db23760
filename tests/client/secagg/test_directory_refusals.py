"""What a site refuses about an attempt and its directory, by the name of the rule."""

import dataclasses
from collections.abc import Callable

import pytest
from tests.secagg_federation import (
    Federation,
    code_of,
    make_federation,
    make_roster,
    signing_key_of,
)

from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    RoundKeys,
    ShareRequest,
    Signed,
    decode,
    encode,
)
from fedward_common.secagg.signed_items import sign_item
from fedward_server import secagg_coordinator as coordinator


@pytest.fixture
def four() -> Federation:
    return make_federation(4)


def share_with(federation: Federation, directory: list[Signed]) -> str:
    site = federation.sites[0]
    request = encode(ShareRequest(tuple(directory)))
    return code_of(lambda: federation.share_one(site, request))


def begun(num_sites: int = 4, **changes: object) -> tuple[Federation, list[Signed]]:
    federation = make_federation(num_sites, **changes)  # type: ignore[arg-type]
    entries = [decode(Signed, federation.begin_one(site)) for site in federation.sites]
    return federation, entries


def test_a_directory_without_the_one_who_is_asked_is_refused() -> None:
    federation, entries = begun()
    assert share_with(federation, entries[1:]) == codes.SELF_MISSING


def test_own_keys_that_were_exchanged_are_refused() -> None:
    federation, entries = begun()
    keys = decode(RoundKeys, entries[0].body)
    other = decode(RoundKeys, entries[1].body)
    mine = dataclasses.replace(keys, mask_key=other.seal_key)
    entries[0] = sign_item(mine, signing_key_of(federation.sites[0]))
    assert share_with(federation, entries) == codes.KEYS_CHANGED


@pytest.mark.parametrize(
    "disorder",
    [lambda e: [e[1], e[0], *e[2:]], lambda e: [*e, e[-1]]],
    ids=["another order", "one twice"],
)
def test_a_directory_that_is_no_sorted_list_is_refused(
    disorder: Callable[[list[Signed]], list[Signed]],
) -> None:
    federation, entries = begun()
    assert share_with(federation, disorder(entries)) == codes.NOT_A_CHAIN


def test_keys_with_a_foreign_signature_are_refused() -> None:
    federation, entries = begun()
    keys = decode(RoundKeys, entries[1].body)
    entries[1] = sign_item(keys, signing_key_of("somebody else"))
    assert share_with(federation, entries) == codes.BAD_SIGNATURE


@pytest.mark.parametrize("name", ["stranger", "coordinator"])
def test_keys_of_nobody_or_of_no_site_are_refused(name: str) -> None:
    federation, entries = begun()
    keys = dataclasses.replace(decode(RoundKeys, entries[1].body), site=name)
    entries[1] = sign_item(keys, signing_key_of(name))
    assert share_with(federation, entries) == codes.FOREIGN_KEY


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("consortium", "another", codes.BINDING),
        ("run", "run-2", codes.BINDING),
        ("purpose", "test", codes.BINDING),
        ("round", 3, codes.BINDING),
        ("attempt", 1, codes.BINDING),
        ("manifest_sha256", "00" * 32, codes.BINDING),
        ("roster_version", 2, codes.ROSTER),
        ("roster_sha256", "00" * 32, codes.ROSTER),
        ("weights_sha256", "00" * 32, codes.WEIGHTS_DIFFER),
        ("codec_sha256", "00" * 32, codes.CODEC_DIFFERS),
        ("suite", "S2", codes.SUITE),
    ],
)
def test_keys_of_a_site_with_another_binding_are_refused_by_name(
    field: str, value: object, code: str
) -> None:
    federation, entries = begun()
    keys = decode(RoundKeys, entries[2].body)
    other = dataclasses.replace(
        keys,
        binding=dataclasses.replace(keys.binding, **{field: value}),  # type: ignore[arg-type]
    )
    entries[2] = sign_item(other, signing_key_of(federation.sites[2]))
    assert share_with(federation, entries) == code


def test_a_directory_below_the_minimum_of_sites_is_refused() -> None:
    federation, entries = begun(5, minimum_sites=5)
    assert share_with(federation, entries[:4]) == codes.TOO_FEW_SITES


def test_a_directory_of_one_is_refused_whatever_the_rules_say() -> None:
    federation, entries = begun(2, minimum_sites=0, minimum_organisations=0)
    assert share_with(federation, entries[:1]) == codes.TOO_FEW_SITES


def test_more_sites_than_the_codec_has_room_for_are_refused() -> None:
    federation, entries = begun(5, max_sites=4)
    assert share_with(federation, entries) == codes.TOO_MANY_SITES


def test_too_few_organisations_are_refused() -> None:
    federation, entries = begun(5, minimum_organisations=6)
    assert share_with(federation, entries) == codes.TOO_FEW_ORGANISATIONS


def test_an_organisation_that_holds_a_third_is_refused() -> None:
    sites = make_federation(6).sites
    organisations = {sites[0]: "chain of clinics", sites[3]: "chain of clinics"}
    federation, entries = begun(6, organisations=organisations)
    assert share_with(federation, entries) == codes.ORGANISATION_TOO_LARGE


def test_a_site_that_is_no_participant_is_refused() -> None:
    federation, entries = begun(4)
    site = federation.sites[0]
    rules = federation.rules[site]
    fewer = rules.participants - {federation.sites[3]}
    federation.rules[site] = dataclasses.replace(rules, participants=fewer)
    assert share_with(federation, entries) == codes.FOREIGN_KEY


def test_a_key_that_stands_twice_is_refused() -> None:
    federation, entries = begun(4)
    keys = decode(RoundKeys, entries[2].body)
    copied = dataclasses.replace(decode(RoundKeys, entries[3].body), seal_key=keys.seal_key)
    entries[3] = sign_item(copied, signing_key_of(federation.sites[3]))
    assert share_with(federation, entries) == codes.FOREIGN_KEY


def test_a_key_of_low_order_is_refused() -> None:
    federation, entries = begun(4)
    keys = decode(RoundKeys, entries[2].body)
    useless = dataclasses.replace(keys, seal_key=bytes(32) + keys.seal_key[32:])
    entries[2] = sign_item(useless, signing_key_of(federation.sites[2]))
    assert share_with(federation, entries) == "UNVERIFIED_MESSAGE"


def test_an_attempt_under_another_roster_is_not_begun(four: Federation) -> None:
    four.binding = dataclasses.replace(four.binding, roster_version=2)
    assert code_of(four.begin) == codes.ROSTER


def test_a_roster_that_changed_during_the_attempt_stops_it(four: Federation) -> None:
    four.begin()
    site = four.sites[0]
    newer = make_roster(four.sites, version=4)
    four.rules[site] = dataclasses.replace(four.rules[site], roster=newer)
    request = coordinator.share_request(four.attempt)
    assert code_of(lambda: four.share_one(site, request)) == codes.ROSTER


def test_another_suite_is_not_begun(four: Federation) -> None:
    four.binding = dataclasses.replace(four.binding, suite="S0")
    assert code_of(four.begin) == codes.SUITE


def test_a_site_whose_key_the_roster_does_not_name_begins_nothing(four: Federation) -> None:
    site = four.sites[0]
    four.rules[site] = dataclasses.replace(four.rules[site], signing_key=signing_key_of("other"))
    assert code_of(lambda: four.begin_one(site)) == codes.BAD_SIGNATURE


def test_the_same_or_a_lower_attempt_is_not_begun_again(four: Federation) -> None:
    four.begin()
    assert code_of(lambda: four.begin_one(four.sites[0])) == codes.BINDING


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("round", 9, codes.BINDING),
        ("weights_sha256", "00" * 32, codes.WEIGHTS_DIFFER),
        ("codec_sha256", "00" * 32, codes.CODEC_DIFFERS),
    ],
)
def test_a_next_attempt_at_something_else_is_not_begun(
    four: Federation, field: str, value: object, code: str
) -> None:
    four.begin()
    four.next_attempt()
    four.binding = dataclasses.replace(four.binding, **{field: value})  # type: ignore[arg-type]
    assert code_of(lambda: four.begin_one(four.sites[0])) == code
