"""Signatures under the lists that are to be unmasked: t distinct survivors, and nobody else."""

from collections.abc import Callable
from functools import partial

import pytest
from tests.attacks.secure_aggregation.attacker import (
    corrupted,
    finish,
    lists_of,
    masked_by_all,
    opened_secrets,
    refuses,
    request_to_unmask,
    signature_of,
)
from tests.secagg_federation import Federation, signing_key_of

from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    ABANDONMENT_CONTEXT,
    CONFIRMATION_CONTEXT,
    ROUND_KEYS_CONTEXT,
    Confirmation,
    ConfirmRequest,
    encode,
)
from fedward_common.secagg.transcript import hash_of_transcript
from fedward_server import secagg_coordinator as coordinator

Signatures = list[Confirmation]


@pytest.fixture(scope="module")
def all_confirmed() -> Federation:
    """Seven sites, one of which dropped out after sharing, and the six others signed."""
    federation = masked_by_all(7)
    federation.attempt = coordinator.fix_survivors(federation.attempt, federation.sites[:6])
    federation.confirm()
    return federation


@pytest.fixture
def confirmed(all_confirmed: Federation) -> Federation:
    return all_confirmed.fork()


def lists(federation: Federation) -> ConfirmRequest:
    return lists_of(federation, federation.sites[:6])


def real(federation: Federation, *places: int) -> Signatures:
    return [signature_of(federation, lists(federation), federation.sites[p]) for p in places]


def in_context(federation: Federation, place: int, context: str) -> Confirmation:
    """A signature on the right transcript that was made for something else."""
    names = lists(federation)
    transcript = hash_of_transcript(
        names.directory_sha256, federation.attempt.sharers_sha256, names.survivors, names.dropouts
    )
    site = federation.sites[place]
    return Confirmation(site, signing_key_of(site).sign(transcript, context=context))


def of_other_lists(federation: Federation, place: int) -> Confirmation:
    other = lists_of(federation, federation.sites[:5])
    return signature_of(federation, other, federation.sites[place])


def of_other_sharers(federation: Federation, place: int) -> Confirmation:
    names = lists(federation)
    transcript = hash_of_transcript(
        names.directory_sha256, bytes(32), names.survivors, names.dropouts
    )
    site = federation.sites[place]
    return Confirmation(site, signing_key_of(site).sign(transcript, context=CONFIRMATION_CONTEXT))


Chosen = Callable[[Federation], Signatures]
FORGERIES: dict[str, tuple[Chosen, str]] = {
    "none": (lambda f: [], codes.TOO_FEW_SIGNATURES),
    "its own": (lambda f: real(f, 0), codes.TOO_FEW_SIGNATURES),
    "one too few": (lambda f: real(f, 0, 1, 2, 3), codes.TOO_FEW_SIGNATURES),
    "one of them twice": (lambda f: real(f, 0, 1, 2, 3, 3), codes.NOT_A_CHAIN),
    "the dropout's": (lambda f: real(f, 0, 1, 2, 3, 6), codes.NOT_A_CHAIN),
    "a stranger's": (
        lambda f: [*real(f, 0, 1, 2, 3), signature_of(f, lists(f), "stranger")], codes.NOT_A_CHAIN,
    ),
    "the coordinator's": (
        lambda f: [*real(f, 0, 1, 2, 3), signature_of(f, lists(f), "coordinator")],
        codes.NOT_A_CHAIN,
    ),
    "zeros": (
        lambda f: [*real(f, 0, 1, 2, 3), Confirmation(f.sites[4], bytes(64))], codes.BAD_SIGNATURE,
    ),
    "another's under a name": (
        lambda f: [*real(f, 0, 1, 2, 3), Confirmation(f.sites[4], real(f, 5)[0].signature)],
        codes.BAD_SIGNATURE,
    ),
    "for other lists": (
        lambda f: [*real(f, 0, 1, 2, 3), of_other_lists(f, 4)], codes.BAD_SIGNATURE,
    ),
    "for other sharers": (
        lambda f: [*real(f, 0, 1, 2, 3), of_other_sharers(f, 4)], codes.BAD_SIGNATURE,
    ),
    "made as an abandonment": (
        lambda f: [*real(f, 0, 1, 2, 3), in_context(f, 4, ABANDONMENT_CONTEXT)],
        codes.BAD_SIGNATURE,
    ),
    "made as round keys": (
        lambda f: [*real(f, 0, 1, 2, 3), in_context(f, 4, ROUND_KEYS_CONTEXT)],
        codes.BAD_SIGNATURE,
    ),
    "enough, and a forged one more": (
        lambda f: [*real(f, 0, 1, 2, 3, 4), Confirmation(f.sites[5], bytes(64))],
        codes.BAD_SIGNATURE,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("chosen", "code"), FORGERIES.values(), ids=FORGERIES)
def test_nothing_is_revealed_for_signatures_that_are_not_those_of_t_survivors(
    confirmed: Federation, chosen: Chosen, code: str
) -> None:
    request = request_to_unmask(lists(confirmed), chosen(confirmed))
    for site in confirmed.sites[:5]:
        refuses(confirmed, site, partial(confirmed.unmask_one, site, request), code)
    allies = corrupted(confirmed)
    assert opened_secrets(confirmed, allies, {}) == set()
    finish(confirmed)


def test_t_signatures_are_enough_whoever_of_the_survivors_gave_them(confirmed: Federation) -> None:
    """So that the cases above are refused for their signatures alone."""
    request = request_to_unmask(lists(confirmed), real(confirmed, 1, 2, 3, 4, 5))
    assert confirmed.unmask_one(confirmed.sites[0], request)


def test_signatures_of_allies_do_not_stand_for_honest_ones(confirmed: Federation) -> None:
    """Under a third of the sites sign for any name that they hold the key of."""
    allies = corrupted(confirmed)
    forged: list[Confirmation] = []
    for name in confirmed.sites[:6]:
        signer: SiteId = name if name in allies else allies[0]
        forged.append(
            Confirmation(name, signature_of(confirmed, lists(confirmed), signer).signature)
        )
    request = request_to_unmask(lists(confirmed), forged)
    victim = confirmed.sites[0]
    refuses(confirmed, victim, lambda: confirmed.unmask_one(victim, request), codes.BAD_SIGNATURE)


def test_the_dropout_reveals_nothing_of_the_others(confirmed: Federation) -> None:
    """It masked and was left out; nobody makes it sign or open the sum without it."""
    dropout = confirmed.sites[6]
    names = encode(lists(confirmed))
    refuses(confirmed, dropout, lambda: confirmed.confirm_one(dropout, names), codes.SELF_MISSING)
    request = request_to_unmask(lists(confirmed), real(confirmed, 0, 1, 2, 3, 4))
    act = partial(confirmed.unmask_one, dropout, request)
    refuses(confirmed, dropout, act, codes.SECOND_REQUEST)
