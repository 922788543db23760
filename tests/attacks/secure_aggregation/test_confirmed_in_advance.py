"""What is signed with the masked vector opens the sum of all sharers, and never another beside it.

Every honest site signs that all sharers survived, so the coordinator has these signatures at once.
It may still have another list signed, with dropouts, and show each site whichever list it likes.
"""

import itertools
from functools import partial

import pytest
from tests.attacks.secure_aggregation.attacker import (
    Opened,
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
from tests.secagg_federation import Federation

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


def signed_by_all(federation: Federation) -> list[Confirmation]:
    """What every site signed with its vector."""
    return [decode(Confirmation, federation.in_advance[site]) for site in federation.sites]


def request_for_all(federation: Federation) -> bytes:
    """The request that reveals the shares for the sum of all sharers."""
    lists = lists_of(federation, federation.sites)
    return request_to_unmask(lists, signed_by_all(federation)[: federation.threshold])


def request_without(federation: Federation, *dropouts: SiteId) -> bytes:
    """The request for the others' sum, with signatures that t dishonest sites could have made."""
    lists = lists_of(federation, [site for site in federation.sites if site not in dropouts])
    names = lists.survivors[: federation.threshold]
    return request_to_unmask(lists, [signature_of(federation, lists, name) for name in names])


@pytest.mark.parametrize(
    ("num_sites", "num_dropouts"), [(4, 1), (5, 1), (6, 1), (7, 1), (7, 2), (8, 2)]
)
def test_whichever_list_each_site_is_shown_no_site_has_both_secrets_opened(
    num_sites: int, num_dropouts: int
) -> None:
    """Every way to part the honest sites between the sum of all and the sum without some."""
    start = masked_by_all(num_sites)
    allies = corrupted(start)
    honest = [site for site in start.sites if site not in allies]
    dropouts, others = honest[:num_dropouts], honest[num_dropouts:]
    without = lists_of(start, [site for site in start.sites if site not in dropouts])
    ways: set[str] = set()
    for confirms in itertools.product((False, True), repeat=len(others)):
        confirming = [site for site, does in zip(others, confirms, strict=True) if does]
        opened = attacked(start.fork(), allies, confirming, without)
        for dropout in dropouts:
            assert not {(dropout, SELF_MASK), (dropout, RECOVERY)} <= opened
        if any((dropout, RECOVERY) in opened for dropout in dropouts):
            ways.add("the sum without some")
        elif {(site, SELF_MASK) for site in start.sites} <= opened:
            ways.add("the sum of all")
    assert ways == {"the sum without some", "the sum of all"}, "an attack that tries neither"


def attacked(
    here: Federation, allies: list[SiteId], confirming: list[SiteId], without: ConfirmRequest
) -> Opened:
    """Have these honest sites sign the list with dropouts, then unmask all that can be."""
    signed = [decode(Confirmation, here.confirm_one(s, encode(without))) for s in confirming]
    signed += [signature_of(here, without, ally) for ally in allies]
    requests = (request_for_all(here), request_to_unmask(without, signed))
    revealed: dict[SiteId, bytes] = {}
    for site in here.sites:
        if site in allies:
            continue
        for request in requests:
            answer = answer_or_none(partial(here.unmask_one, site, request))
            if answer is not None:
                assert site not in revealed, "a site revealed shares for two lists"
                revealed[site] = answer
    return set(opened_secrets(here, allies, revealed))


def test_a_list_that_was_confirmed_takes_the_place_of_the_one_in_advance(
    seven: Federation,
) -> None:
    victim, dropout = seven.sites[0], seven.sites[3]
    others = [site for site in seven.sites if site != dropout]
    seven.confirm_one(victim, encode(lists_of(seven, others)))
    request = request_for_all(seven)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.SECOND_REQUEST)
    seven.attempt = coordinator.fix_survivors(seven.attempt, others)
    finish(seven)


def test_who_signed_in_advance_alone_reveals_no_recovery_key(seven: Federation) -> None:
    request = request_without(seven, seven.sites[3])
    for victim in seven.sites:
        act = partial(seven.unmask_one, victim, request)
        refuses(seven, victim, act, codes.SECOND_REQUEST)


def test_after_the_sum_of_all_no_other_list_is_signed(seven: Federation) -> None:
    victim = seven.sites[0]
    assert seven.unmask_one(victim, request_for_all(seven))
    without = encode(lists_of(seven, seven.sites[:6]))
    refuses(seven, victim, lambda: seven.confirm_one(victim, without), codes.OUT_OF_ORDER)
    assert seven.states[victim].secrets is None


def test_an_abandoned_attempt_is_not_opened_by_what_was_signed_in_advance(
    seven: Federation,
) -> None:
    victim = seven.sites[0]
    seven.abandon_one(victim)
    request = request_for_all(seven)
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.ABANDONED)


@pytest.mark.parametrize("stays", [0, 4])
def test_fewer_than_t_that_signed_in_advance_open_nothing(seven: Federation, stays: int) -> None:
    signed = signed_by_all(seven)[:stays]
    request = request_to_unmask(lists_of(seven, seven.sites), signed)
    for victim in seven.sites[:5]:
        act = partial(seven.unmask_one, victim, request)
        refuses(seven, victim, act, codes.TOO_FEW_SIGNATURES)


def test_what_one_site_signed_in_advance_is_not_anothers(seven: Federation) -> None:
    signed = signed_by_all(seven)[: seven.threshold]
    stolen = [*signed[:-1], Confirmation(signed[-1].site, signed[0].signature)]
    request = request_to_unmask(lists_of(seven, seven.sites), stolen)
    victim = seven.sites[0]
    refuses(seven, victim, lambda: seven.unmask_one(victim, request), codes.BAD_SIGNATURE)


def test_the_list_of_all_may_be_confirmed_once_more(seven: Federation) -> None:
    """A coordinator that lacks one of the signatures asks everybody, with the same result."""
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.confirm()
    finish(seven)


def test_without_dropouts_nobody_is_asked_to_confirm(seven: Federation) -> None:
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.take_in_advance()
    assert len(seven.attempt.confirmed) == len(seven.sites)
    finish(seven)


@pytest.mark.parametrize("num_sites", [2, 3])
def test_where_no_site_may_leave_all_are_asked(num_sites: int) -> None:
    """One that left after its vector is found before the others reveal their shares in vain."""
    federation = masked_by_all(num_sites)
    federation.attempt = coordinator.fix_survivors(federation.attempt, federation.sites)
    federation.take_in_advance()
    assert federation.attempt.confirmed == ()
    finish(federation)


def test_with_a_dropout_nothing_counts_that_was_signed_in_advance(seven: Federation) -> None:
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites[1:])
    seven.take_in_advance()
    assert seven.attempt.confirmed == ()
    finish(seven)


UNUSABLE = {
    "nothing": b"",
    "rubbish": b"\xff",
    "a signature of zeros": encode(Confirmation("site-003", bytes(64))),
    "a signature of another": encode(Confirmation("site-004", bytes(64))),
}


@pytest.mark.parametrize("answer", UNUSABLE.values(), ids=UNUSABLE)
def test_where_one_site_did_not_sign_in_advance_all_are_asked(
    seven: Federation, answer: bytes
) -> None:
    """Who signed nothing would reveal nothing, and with t others the sum would be lost."""
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    seven.in_advance[seven.sites[3]] = answer
    seven.take_in_advance()
    assert seven.attempt.confirmed == ()
    finish(seven)


def test_where_one_answer_never_came_all_are_asked(seven: Federation) -> None:
    seven.attempt = coordinator.fix_survivors(seven.attempt, seven.sites)
    del seven.in_advance[seven.sites[3]]
    seven.take_in_advance()
    assert seven.attempt.confirmed == ()
