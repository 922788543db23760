"""Directories of keys with which a coordinator would read shares, or be among too few sites."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from tests.attacks.secure_aggregation.attacker import (
    changed,
    finish,
    refuses,
    signed_by,
)
from tests.attacks.secure_aggregation.shown_directories import (
    entries_of,
    keys_of_attacker,
    name_in,
    shown,
)
from tests.secagg_federation import Federation, SeededEntropy, code_of, make_federation, make_roster

from fedward_client import secagg_member as member
from fedward_common.identities import COORDINATOR, SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    RoundKeys,
    Signed,
    decode,
)


@pytest.mark.parametrize("signer", ["coordinator", "site-006", "stranger"])
def test_keys_of_the_coordinator_under_a_sites_name_are_refused(
    seven: Federation, signer: str
) -> None:
    victim, other = seven.sites[0], seven.sites[3]
    entries = entries_of(seven)
    entries[3] = changed(entries[3], RoundKeys, signer, **keys_of_attacker())
    refuses(seven, victim, shown(seven, victim, entries), codes.BAD_SIGNATURE)
    # The one whose keys they would be sees it by comparing.
    refuses(seven, other, shown(seven, other, entries), codes.KEYS_CHANGED)
    finish(seven)


def test_keys_with_the_signature_of_others_are_refused(seven: Federation) -> None:
    victim = seven.sites[0]
    entries = entries_of(seven)
    for part in (entries[4].signature, bytes(64), entries[3].signature[::-1]):
        forged = [*entries[:3], Signed(entries[3].body, part), *entries[4:]]
        refuses(seven, victim, shown(seven, victim, forged), codes.BAD_SIGNATURE)


@pytest.mark.parametrize("name", ["stranger", COORDINATOR])
def test_who_is_no_site_of_the_roster_has_no_keys_in_a_directory(
    seven: Federation, name: str
) -> None:
    victim = seven.sites[0]
    keys = RoundKeys(seven.binding, name, **keys_of_attacker())
    entries = sorted([*entries_of(seven), signed_by(keys, name)], key=lambda e: name_in(e))
    refuses(seven, victim, shown(seven, victim, entries), codes.FOREIGN_KEY)
    finish(seven)


def test_a_revoked_site_is_in_no_directory() -> None:
    """A site that took the newer roster knows it no longer; the coordinator still would."""
    federation = make_federation(7)
    revoked = federation.sites[6]
    entries = [decode(Signed, federation.begin_one(site)) for site in federation.sites]
    newer = make_roster(federation.sites[:6], version=4)
    victim = federation.sites[0]
    rules = dataclasses.replace(federation.rules[victim], roster=newer)
    federation.rules[victim] = rules
    refuses(federation, victim, shown(federation, victim, entries), codes.ROSTER)

    federation.states.clear()
    federation.binding = dataclasses.replace(
        federation.binding, roster_version=4, roster_sha256=newer.sha256, attempt=1
    )
    signed = changed(entries[6], RoundKeys, revoked, binding=federation.binding)
    federation.rules = {
        site: dataclasses.replace(rules, roster=newer) for site, rules in federation.rules.items()
    }
    fresh = [decode(Signed, federation.begin_one(site)) for site in federation.sites[:6]]
    refuses(federation, victim, shown(federation, victim, [*fresh, signed]), codes.FOREIGN_KEY)
    assert code_of(lambda: federation.begin_one(revoked)) == codes.FOREIGN_KEY


def test_a_site_that_was_added_in_mid_run_is_no_participant() -> None:
    """The newer roster is real; the manifest's participants are what counts."""
    federation = make_federation(5)
    added = federation.sites[4]
    old = federation.sites[:4]
    federation.rules = {
        site: dataclasses.replace(rules, participants=frozenset(old))
        for site, rules in federation.rules.items()
    }
    entries = [decode(Signed, federation.begin_one(site)) for site in federation.sites]
    victim = old[0]
    refuses(federation, victim, shown(federation, victim, entries), codes.FOREIGN_KEY)
    assert added in {SiteId(name_in(entry)) for entry in entries}


SHRUNKEN: dict[str, tuple[dict[str, Any], list[int], str]] = {
    "below the minimum": ({"minimum_sites": 5}, [0, 1, 2, 3], codes.TOO_FEW_SITES),
    "one with the coordinator's": ({"minimum_sites": 3}, [0, 6], codes.TOO_FEW_SITES),
    "alone": ({"minimum_sites": 1, "minimum_organisations": 1}, [0], codes.TOO_FEW_SITES),
    "too few organisations": (
        {"minimum_organisations": 5}, [0, 1, 2, 3], codes.TOO_FEW_ORGANISATIONS,
    ),
    "more than the codec": ({"max_sites": 6}, [0, 1, 2, 3, 4, 5, 6], codes.TOO_MANY_SITES),
}  # fmt: skip


@pytest.mark.parametrize(("limits", "places", "code"), SHRUNKEN.values(), ids=SHRUNKEN)
def test_a_shrunken_cohort_is_refused(
    seven: Federation, limits: dict[str, Any], places: list[int], code: str
) -> None:
    victim = seven.sites[0]
    seven.rules[victim] = dataclasses.replace(seven.rules[victim], **limits)
    entries = entries_of(seven)
    refuses(seven, victim, shown(seven, victim, [entries[p] for p in places]), code)


@pytest.mark.parametrize(("num_sites", "held"), [(4, 2), (6, 2), (7, 3), (9, 3)])
def test_an_organisation_with_a_third_of_the_sites_is_refused(num_sites: int, held: int) -> None:
    """Its sites together are a coalition that could break the secrecy of a sum."""
    sites = make_federation(num_sites).sites
    federation = make_federation(num_sites, organisations=dict.fromkeys(sites[-held:], "one"))
    entries = [decode(Signed, federation.begin_one(site)) for site in sites]
    refuses(
        federation, sites[0], shown(federation, sites[0], entries), codes.ORGANISATION_TOO_LARGE
    )


def test_leaving_out_other_sites_does_not_make_room_for_an_organisation() -> None:
    """Two of seven sites are fewer than a third; of the six that are shown they are not."""
    sites = make_federation(7).sites
    federation = make_federation(7, organisations=dict.fromkeys(sites[-2:], "one"))
    entries = [decode(Signed, federation.begin_one(site)) for site in sites]
    refuses(
        federation, sites[0], shown(federation, sites[0], entries[:4] + entries[5:]),
        codes.ORGANISATION_TOO_LARGE,
    )  # fmt: skip


def test_a_site_with_two_sets_of_keys_stands_in_no_directory(seven: Federation) -> None:
    """Sybils of one site: it would hold two shares of every secret."""
    victim, liar = seven.sites[0], seven.sites[6]
    entries = entries_of(seven)
    second = changed(entries[6], RoundKeys, liar, **keys_of_attacker())
    refuses(seven, victim, shown(seven, victim, [*entries, second]), codes.NOT_A_CHAIN)
    refuses(seven, victim, shown(seven, victim, [*entries, entries[6]]), codes.NOT_A_CHAIN)
    finish(seven)


COPIES: dict[str, Callable[[RoundKeys, RoundKeys], dict[str, bytes]]] = {
    "a seal key": lambda honest, _: {"seal_key": honest.seal_key},
    "a mask key": lambda honest, _: {"mask_key": honest.mask_key},
    "a mask key as seal key": lambda honest, _: {"seal_key": honest.mask_key},
    "its own twice": lambda _, own: {"seal_key": own.mask_key},
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_a_key_that_was_copied_from_another_place_is_refused(
    seven: Federation, copied: Callable[[RoundKeys, RoundKeys], dict[str, bytes]]
) -> None:
    victim, liar = seven.sites[0], seven.sites[6]
    entries = entries_of(seven)
    fields = copied(decode(RoundKeys, entries[0].body), decode(RoundKeys, entries[6].body))
    entries[6] = changed(entries[6], RoundKeys, liar, **fields)
    refuses(seven, victim, shown(seven, victim, entries), codes.FOREIGN_KEY)
    refuses(seven, seven.sites[2], shown(seven, seven.sites[2], entries), codes.FOREIGN_KEY)


OTHERS: dict[str, tuple[Any, str]] = {
    "consortium": ("another", codes.BINDING),
    "run": ("run-2", codes.BINDING),
    "purpose": ("validation", codes.BINDING),
    "round": (3, codes.BINDING),
    "attempt": (7, codes.BINDING),
    "manifest_sha256": ("00" * 32, codes.BINDING),
    "roster_version": (2, codes.ROSTER),
    "roster_sha256": ("00" * 32, codes.ROSTER),
    "weights_sha256": ("00" * 32, codes.WEIGHTS_DIFFER),
    "codec_sha256": ("00" * 32, codes.CODEC_DIFFERS),
    "suite": ("S0", codes.SUITE),
}


@pytest.mark.parametrize("field", OTHERS)
def test_sites_that_were_told_different_things_do_not_mask_together(
    seven: Federation, field: str
) -> None:
    """Other weights for one site would show its update: nothing of the others' is like it."""
    value, code = OTHERS[field]
    victim, liar = seven.sites[0], seven.sites[6]
    entries = entries_of(seven)
    other = dataclasses.replace(seven.binding, **{field: value})
    entries[6] = changed(entries[6], RoundKeys, liar, binding=other)
    refuses(seven, victim, shown(seven, victim, entries), code)
    finish(seven)


@pytest.mark.parametrize("order", [[1, 0, 2, 3, 4, 5, 6], [0, 0, 1, 2, 3, 4, 5], [6, *range(6)]])
def test_a_directory_in_another_order_is_refused(seven: Federation, order: list[int]) -> None:
    entries = entries_of(seven)
    victim = seven.sites[0]
    refuses(seven, victim, shown(seven, victim, [entries[p] for p in order]), codes.NOT_A_CHAIN)


def test_a_directory_without_the_site_that_is_asked_is_refused(seven: Federation) -> None:
    victim = seven.sites[2]
    entries = entries_of(seven)
    refuses(seven, victim, shown(seven, victim, entries[:2] + entries[3:]), codes.SELF_MISSING)


@pytest.mark.parametrize("version", [2, 4])
def test_no_attempt_is_begun_under_another_roster_than_the_runs(version: int) -> None:
    """An older one may hold who was revoked, a newer one who was added in mid-run."""
    federation = make_federation(4)
    other = make_roster(federation.sites, version=version)
    binding = dataclasses.replace(
        federation.binding, roster_version=version, roster_sha256=other.sha256
    )
    site = federation.sites[0]
    begun = code_of(lambda: member.begin(federation.rules[site], binding, entropy=SeededEntropy(1)))
    assert begun == codes.ROSTER


def test_an_attempt_under_an_older_roster_does_not_follow_one_under_a_newer() -> None:
    federation = make_federation(4)
    federation.begin()
    older = make_roster(federation.sites, version=2)
    site = federation.sites[0]
    rules = dataclasses.replace(federation.rules[site], roster=older)
    binding = dataclasses.replace(
        federation.binding, roster_version=2, roster_sha256=older.sha256, attempt=1
    )
    begun = code_of(
        lambda: member.begin(
            rules, binding, entropy=SeededEntropy(1), earlier=federation.states[site]
        )
    )
    assert begun == codes.ROSTER
