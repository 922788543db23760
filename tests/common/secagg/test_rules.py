"""Each rule on lists refuses by its own name, and lets through what keeps it."""

import dataclasses
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.secagg.test_binding import BINDING
from tests.secagg_federation import code_of, make_roster, site_names

from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg import rules
from fedward_server.secagg_coordinator import CoordinatorRules


def limits_of(num_sites: int, **changes: object) -> CoordinatorRules:
    sites = site_names(num_sites)
    limits = CoordinatorRules(make_roster(sites), frozenset(sites), 2, 2, 64)
    return dataclasses.replace(limits, **changes)  # type: ignore[arg-type]


NAMES = site_names(9)


def test_a_directory_of_all_participants_keeps_the_rules() -> None:
    rules.verify_directory_sites(NAMES, limits_of(9))


@pytest.mark.parametrize(
    ("sites", "changes", "code"),
    [
        ([NAMES[1], NAMES[0]], {}, codes.NOT_A_CHAIN),
        ([NAMES[0], NAMES[0]], {}, codes.NOT_A_CHAIN),
        (NAMES, {"participants": frozenset(NAMES[1:])}, codes.FOREIGN_KEY),
        (NAMES[:4], {"minimum_sites": 5}, codes.TOO_FEW_SITES),
        (NAMES[:1], {"minimum_sites": 0}, codes.TOO_FEW_SITES),
        ([], {"minimum_sites": 0}, codes.TOO_FEW_SITES),
        (NAMES, {"max_sites": 8}, codes.TOO_MANY_SITES),
        (NAMES, {"minimum_organisations": 10}, codes.TOO_FEW_ORGANISATIONS),
        (
            NAMES,
            {"roster": make_roster(NAMES, dict.fromkeys(NAMES[:3], "one"))},
            codes.ORGANISATION_TOO_LARGE,
        ),
    ],
)
def test_a_directory_is_refused_by_the_name_of_the_rule(
    sites: list[SiteId], changes: dict[str, object], code: str
) -> None:
    limits = limits_of(9, **changes)
    assert code_of(lambda: rules.verify_directory_sites(sites, limits)) == code


def test_an_organisation_may_hold_less_than_a_third() -> None:
    roster = make_roster(NAMES, dict.fromkeys(NAMES[:2], "one"))
    rules.verify_directory_sites(NAMES, limits_of(9, roster=roster))


@pytest.mark.parametrize(
    ("sharers", "code"),
    [
        (NAMES[:7], ""),
        (NAMES[:6], codes.TOO_FEW_SITES),
        ([*NAMES[:7], SiteId("stranger")], codes.NOT_A_CHAIN),
        ([*NAMES[:7], NAMES[0]], codes.NOT_A_CHAIN),
    ],
)
def test_sharers_are_t_sites_of_the_directory(sharers: list[SiteId], code: str) -> None:
    assert code_of(lambda: rules.verify_sharers(sharers, NAMES, limits_of(9))) == code


@given(
    survivors=st.lists(st.sampled_from(NAMES)),
    dropouts=st.lists(st.sampled_from(NAMES)),
)
def test_lists_pass_only_if_they_part_the_sharers_in_order(
    survivors: list[SiteId], dropouts: list[SiteId]
) -> None:
    is_allowed = (
        survivors == sorted(set(survivors))
        and dropouts == sorted(set(dropouts))
        and set(survivors).isdisjoint(dropouts)
        and set(survivors) | set(dropouts) == set(NAMES[:8])
        and len(survivors) >= 7
    )

    code = code_of(
        lambda: rules.verify_survivors(
            survivors, dropouts, sharers=NAMES[:8], num_directory=9, limits=limits_of(9)
        )
    )

    assert (code == "") == is_allowed


@pytest.mark.parametrize("dropout", range(8))
def test_any_one_of_eight_sharers_may_drop_out(dropout: int) -> None:
    rules.verify_survivors(
        [site for site in NAMES[:8] if site != NAMES[dropout]],
        [NAMES[dropout]],
        sharers=NAMES[:8],
        num_directory=9,
        limits=limits_of(9),
    )


def test_organisations_are_counted_again_among_sharers_and_survivors() -> None:
    roster = make_roster(NAMES, dict.fromkeys(NAMES[:2], "one"))
    limits = limits_of(9, roster=roster, minimum_organisations=7)
    rules.verify_directory_sites(NAMES, limits)
    assert (
        code_of(lambda: rules.verify_sharers(NAMES[:7], NAMES, limits))
        == codes.TOO_FEW_ORGANISATIONS
    )
    assert (
        code_of(
            lambda: rules.verify_survivors(
                NAMES[:7], NAMES[7:], sharers=NAMES, num_directory=9, limits=limits
            )
        )
        == codes.TOO_FEW_ORGANISATIONS
    )


def of_attempt(**changes: object) -> Callable[[], None]:
    later = dataclasses.replace(BINDING, **changes)  # type: ignore[arg-type]
    return lambda: rules.verify_next_attempt(later, BINDING)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"attempt": 1}, ""),
        ({"attempt": 1, "roster_version": 4, "roster_sha256": "ef" * 32}, ""),
        ({}, codes.BINDING),
        ({"attempt": 1, "roster_version": 2}, codes.ROSTER),
        ({"attempt": 1, "round": 5}, codes.BINDING),
        ({"attempt": 1, "purpose": "test"}, codes.BINDING),
        ({"attempt": 1, "weights_sha256": "ef" * 32}, codes.WEIGHTS_DIFFER),
        ({"attempt": 1, "codec_sha256": "ef" * 32}, codes.CODEC_DIFFERS),
        ({"attempt": 1, "suite": "S2"}, codes.SUITE),
    ],
)
def test_a_next_attempt_tries_the_same_again(changes: dict[str, object], code: str) -> None:
    assert code_of(of_attempt(**changes)) == code
