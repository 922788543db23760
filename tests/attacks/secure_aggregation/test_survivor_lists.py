"""Lists of survivors that would open both secrets of one site, and with them its contribution.

Two attacks are known to work on an implementation that does not check lists at the sites: naming
one site as survivor and as dropout, and naming different survivors to different sites.
"""

import itertools
from collections.abc import Callable
from functools import partial

import pytest
from tests.attacks.secure_aggregation.attacker import (
    answer_or_none,
    corrupted,
    finish,
    lists_of,
    masked_by_all,
    opened_secrets,
    refuses,
    request_to_unmask,
    signature_of,
)
from tests.secagg_federation import Federation, make_federation
from tests.secagg_steps import up_to

from fedward_client.secagg_member import Stage
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    RECOVERY,
    SELF_MASK,
    Confirmation,
    ConfirmRequest,
    decode,
    encode,
)
from fedward_server import secagg_coordinator as coordinator


@pytest.fixture
def seven(masked_seven: Federation) -> Federation:
    return masked_seven


def test_one_site_as_survivor_and_as_dropout_is_not_confirmed(seven: Federation) -> None:
    target = seven.sites[3]
    both = encode(lists_of(seven, seven.sites, [target]))
    for site in seven.sites:
        refuses(seven, site, partial(seven.confirm_one, site, both), codes.LISTS_OVERLAP)
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    finish(seven)


def test_one_site_as_survivor_and_as_dropout_is_not_unmasked(seven: Federation) -> None:
    """The signatures may be real: of the lists without the site as dropout."""
    target, victim = seven.sites[3], seven.sites[0]
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.confirm()
    both = lists_of(seven, seven.sites, [target])
    request = request_to_unmask(both, seven.attempt.confirmed)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.SECOND_REQUEST)
    finish(seven)


@pytest.mark.parametrize("num_sites", [4, 5, 7])
def test_of_two_lists_of_survivors_only_one_can_ever_be_unmasked(num_sites: int) -> None:
    """Every way to show honest sites one of two lists; dishonest sites sign both."""
    start = masked_by_all(num_sites)
    allies = corrupted(start)
    target, *others = [site for site in start.sites if site not in allies]
    with_target = lists_of(start, start.sites)
    without = lists_of(start, [site for site in start.sites if site != target])
    num_opened = 0
    for choice in itertools.product((with_target, without), repeat=len(others)):
        here = start.fork()
        shown = dict(zip(others, choice, strict=True)) | {target: with_target}
        opened, num_lists = attack_with(here, allies, shown, (with_target, without))
        assert num_lists <= 1
        assert not {(target, SELF_MASK), (target, RECOVERY)} <= opened
        num_opened += bool(opened)
    assert num_opened > 0, "no list at all was unmasked"


def attack_with(
    here: Federation,
    allies: list[SiteId],
    shown: dict[SiteId, ConfirmRequest],
    lists: tuple[ConfirmRequest, ...],
) -> tuple[set[tuple[SiteId, object]], int]:
    """Show each honest site its list, then have whatever has enough signatures unmasked."""
    signed = {
        site: decode(Confirmation, here.confirm_one(site, encode(list_)))
        for site, list_ in shown.items()
    }
    revealed: dict[SiteId, bytes] = {}
    num_lists = 0
    for list_ in lists:
        agreed = [confirmed for site, confirmed in signed.items() if shown[site] is list_]
        agreed += [signature_of(here, list_, ally) for ally in allies]
        num_lists += len(agreed) >= here.threshold
        request = request_to_unmask(list_, agreed)
        for site in shown:
            # Who saw the other list, or sees too few signatures, refuses.
            before = here.states[site]
            answer = answer_or_none(partial(here.unmask_one, site, request))
            if answer is not None:
                revealed[site] = answer
            else:
                assert here.states[site] is before
    opened: set[tuple[SiteId, object]] = set(opened_secrets(here, allies, revealed))
    return opened, num_lists


@pytest.mark.parametrize("num_sites", [4, 7])
def test_dishonest_sites_open_nothing_by_themselves(num_sites: int) -> None:
    federation = masked_by_all(num_sites)
    assert opened_secrets(federation, corrupted(federation), {}) == set()


def test_a_site_that_masked_signs_no_list_that_calls_it_a_dropout(seven: Federation) -> None:
    """The others would reveal its recovery key, while its masked vector is out."""
    target = seven.sites[2]
    without = encode(lists_of(seven, [site for site in seven.sites if site != target]))
    refuses(seven, target, lambda: seven.confirm_one(target, without), codes.SELF_MISSING)


Disorder = Callable[[list[SiteId]], tuple[list[SiteId], list[SiteId] | None]]
STRANGER = SiteId("site-100")

DISORDERS: dict[str, tuple[Disorder, str]] = {
    "not sorted": (lambda s: ([s[1], s[0], *s[2:]], None), codes.NOT_A_CHAIN),
    "one twice": (lambda s: ([s[0], *s], None), codes.NOT_A_CHAIN),
    "a stranger survives": (lambda s: ([*s, STRANGER], None), codes.NOT_A_CHAIN),
    "a stranger drops out": (lambda s: (s, [STRANGER]), codes.NOT_A_CHAIN),
    "a dropout twice": (lambda s: (s[:5], [s[5], s[5]]), codes.NOT_A_CHAIN),
    "dropouts not sorted": (lambda s: (s[:5], [s[6], s[5]]), codes.NOT_A_CHAIN),
    "a sharer on neither list": (lambda s: (s[:6], []), codes.NOT_A_CHAIN),
    "too few": (lambda s: (s[:4], None), codes.TOO_FEW_SITES),
    "nobody": (lambda s: ([], None), codes.TOO_FEW_SITES),
    "an empty name": (lambda s: ([SiteId(""), *s], None), codes.NOT_A_CHAIN),
    "a name in capitals": (lambda s: ([SiteId(s[0].upper()), *s], None), codes.NOT_A_CHAIN),
}


@pytest.mark.parametrize(("disorder", "code"), DISORDERS.values(), ids=DISORDERS)
def test_lists_that_do_not_part_the_sharers_are_not_signed(
    seven: Federation, disorder: Disorder, code: str
) -> None:
    site = seven.sites[1]
    request = encode(lists_of(seven, *disorder(seven.sites)))
    refuses(seven, site, lambda: seven.confirm_one(site, request), code)


def test_a_second_list_is_not_signed_after_the_first(seven: Federation) -> None:
    site = seven.sites[0]
    seven.confirm_one(site, encode(lists_of(seven, seven.sites)))
    for others in (seven.sites[:6], [*seven.sites[:4], *seven.sites[5:]]):
        request = encode(lists_of(seven, others))
        refuses(seven, site, partial(seven.confirm_one, site, request), codes.SECOND_REQUEST)


def test_other_lists_than_those_signed_are_not_unmasked_even_with_enough_signatures(
    seven: Federation,
) -> None:
    """With one honest site too many on its side the coordinator could do so."""
    victim = seven.sites[0]
    seven.confirm_one(victim, encode(lists_of(seven, seven.sites)))
    others = lists_of(seven, seven.sites[:6])
    signatures = [signature_of(seven, others, site) for site in seven.sites[:6]]
    request = request_to_unmask(others, signatures)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.SECOND_REQUEST)


def test_a_second_unmasking_with_other_lists_reveals_nothing(seven: Federation) -> None:
    victim = seven.sites[0]
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.confirm()
    finish(seven)
    others = lists_of(seven, seven.sites[:6])
    request = request_to_unmask(others, [signature_of(seven, others, s) for s in seven.sites[:6]])
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.SECOND_REQUEST)
    assert seven.states[victim].secrets is None


def test_lists_under_another_directory_are_not_signed(seven: Federation) -> None:
    site = seven.sites[0]
    request = encode(ConfirmRequest(bytes(32), tuple(seven.sites), ()))
    refuses(seven, site, lambda: seven.confirm_one(site, request), codes.BINDING)


def test_survivors_of_too_few_organisations_are_not_signed() -> None:
    """Each of seven sites may be its own, but those that are left are of two hospitals."""
    sites = make_federation(7).sites
    named = {site: f"hospital {number // 2}" for number, site in enumerate(sites)}
    federation = make_federation(7, organisations=named, minimum_organisations=4)
    up_to(federation, Stage.MASKED)
    site = sites[0]
    request = encode(lists_of(federation, sites[:6]))
    refuses(
        federation, site, lambda: federation.confirm_one(site, request), codes.TOO_FEW_ORGANISATIONS
    )


@pytest.mark.parametrize("stage", [Stage.READY, Stage.SHARED])
def test_nothing_is_unmasked_before_it_was_masked(stage: Stage) -> None:
    ahead = up_to(make_federation(4), Stage.CONFIRMED)
    request = coordinator.unmask_request(ahead.attempt)
    federation = up_to(make_federation(4), stage)
    site = federation.sites[0]
    refuses(federation, site, lambda: federation.unmask_one(site, request), codes.OUT_OF_ORDER)


@pytest.mark.parametrize("stage", [Stage.READY, Stage.SHARED])
def test_nothing_is_confirmed_before_it_was_masked(stage: Stage) -> None:
    ahead = up_to(make_federation(4), Stage.CONFIRMED)
    request = coordinator.confirm_request(ahead.attempt)
    federation = up_to(make_federation(4), stage)
    site = federation.sites[0]
    refuses(federation, site, lambda: federation.confirm_one(site, request), codes.OUT_OF_ORDER)
