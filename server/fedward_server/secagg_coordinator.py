"""The coordinator in a round of secure aggregation: it relays, keeps lists, and takes masks off.

In order: `open_directory`, `share_request`, `take_share` of each site, `fix_sharers`,
`mask_requests`, (the masked vectors are added up elsewhere), `fix_survivors`,
`take_confirmations_in_advance`, or else `confirm_request` and `take_confirmation`;
`unmask_request`, `take_unmask`, `remove_masks`. Every step takes a state and gives the next; one
that is refused changes nothing. What a site sends twice is taken once.

It checks what sites send, so that one faulty site is left out instead of making the others refuse.
For the secrecy of a contribution nobody relies on these checks.
"""

import dataclasses
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from fedward_common.crypto.mask_stream import Words, apply_masks
from fedward_common.errors import AggregationRefusedError, FedwardError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.messages import (
    Confirmation,
    ConfirmRequest,
    MaskRequest,
    RoundKeys,
    ShareAnswer,
    Sharer,
    ShareRequest,
    Signed,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_common.secagg.rules import (
    verify_own_binding,
    verify_present,
    verify_sharers,
    verify_survivors,
)
from fedward_common.secagg.signed_items import (
    verify_confirmation,
    verify_directory,
    verify_round_keys,
    verify_unmask_answer,
)
from fedward_common.secagg.transcript import hash_of_sharers
from fedward_server.secagg.answer_checks import (
    require_from,
    require_same,
    verify_share_answer,
    verify_shares_asked_for,
)
from fedward_server.secagg.attempt_state import AttemptState, CoordinatorRules, require_step
from fedward_server.secagg.unmasking import WrongShare, recover_masks, revealed_shares

__all__ = [
    "AttemptState",
    "CoordinatorRules",
    "WrongShare",
    "confirm_request",
    "fix_sharers",
    "fix_survivors",
    "has_enough_shares",
    "mask_request",
    "mask_requests",
    "open_directory",
    "remove_masks",
    "share_request",
    "take_confirmation",
    "take_confirmations_in_advance",
    "take_share",
    "take_unmask",
    "unmask_request",
    "verify_in_advance",
    "verify_ready",
]


def verify_ready(
    rules: CoordinatorRules, binding: RoundBinding, site: SiteId, unverified: bytes
) -> Signed:
    """Check what one site answered to being READY, as `open_directory` does.

    Raises:
        AggregationRefusedError: The name of the rule that it breaks.
        MalformedMessageError: It is not canonical.
    """
    signed = decode(Signed, unverified)
    keys = verify_round_keys(signed, rules.roster, binding)
    require_from(site, keys.site)
    if site not in rules.participants:
        raise AggregationRefusedError(
            f"{site} is no participant of this run", code=codes.FOREIGN_KEY
        )
    return signed


def open_directory(
    rules: CoordinatorRules, binding: RoundBinding, keys: Mapping[SiteId, bytes]
) -> tuple[AttemptState, dict[SiteId, str]]:
    """Make the directory of an attempt of all sites whose round keys can be used.

    Args:
        rules: Of the manifest.
        binding: Of the attempt.
        keys: What each site answered to being READY.

    Returns:
        The state, and the sites that were left out, each with a code.

    Raises:
        AggregationRefusedError: The rest is too few, too many, or too much of one organisation.
    """
    verify_own_binding(binding, rules.roster)
    usable: dict[SiteId, Signed] = {}
    left_out: dict[SiteId, str] = {}
    for site in sorted(keys):
        try:
            usable[site] = verify_ready(rules, binding, site, keys[site])
        except FedwardError as error:
            left_out[site] = error.code
    for site in _sharing_a_key(usable):
        del usable[site]
        left_out[site] = codes.FOREIGN_KEY
    round_keys = tuple(usable.values())
    directory = verify_directory(round_keys, rules, binding)
    return AttemptState(rules, directory, round_keys), left_out


def share_request(state: AttemptState) -> bytes:
    """Give the request that shows the directory to all its sites."""
    return encode(ShareRequest(state.round_keys))


def take_share(state: AttemptState, site: SiteId, answer: bytes) -> AttemptState:
    """Take one site's shares; on an error it is no sharer, and the others go on.

    Raises:
        AggregationRefusedError: The name of the rule that the answer breaks.
        MalformedMessageError: The answer is not canonical.
    """
    require_step(not state.sharers, "the sharers are fixed already")
    verify_present(site, state.directory.sites, "the directory")
    if (taken := state.shared.get(site)) is not None:
        require_same(site, answer == taken)
        return state
    unverified = decode(ShareAnswer, answer)
    verify_share_answer(state.directory, state.rules, site, unverified)
    return dataclasses.replace(state, shared={**state.shared, site: answer})


def fix_sharers(state: AttemptState) -> AttemptState:
    """Close the list of sharers: all whose shares were taken.

    Raises:
        AggregationRefusedError: `SECAGG_TOO_FEW_SITES`, `SECAGG_TOO_FEW_ORGANISATIONS`.
    """
    require_step(not state.sharers, "the sharers are fixed already")
    sharers = tuple(sorted(state.shared))
    verify_sharers(sharers, state.directory.sites, state.rules)
    announcements = [state.share_answers[site].announcement for site in sharers]
    return dataclasses.replace(
        state, sharers=sharers, sharers_sha256=hash_of_sharers(announcements)
    )


def mask_request(state: AttemptState, site: SiteId) -> bytes:
    """Give the request for one sharer: who shared, and their packets for it."""
    require_step(bool(state.sharers), "the sharers are not fixed yet")
    verify_present(site, state.sharers, "the sharers")
    place = state.directory.index_of(site)
    answers = [state.share_answers[sharer] for sharer in state.sharers]
    sharers = tuple(Sharer(answer.announcement, answer.packets[place]) for answer in answers)
    return encode(MaskRequest(sharers))


def mask_requests(state: AttemptState) -> dict[SiteId, bytes]:
    """Give the request for each sharer; together they grow with the square of the sites."""
    return {site: mask_request(state, site) for site in state.sharers}


def fix_survivors(state: AttemptState, survivors: Collection[SiteId]) -> AttemptState:
    """Fix whose masked vectors are in the sum; the same again changes nothing.

    Raises:
        AggregationRefusedError: Too few, no sharers, or others than were fixed before
            (`SECAGG_SECOND_REQUEST`).
    """
    require_step(bool(state.sharers), "the sharers are not fixed yet")
    fixed = tuple(sorted(survivors))
    if state.survivors:
        if fixed != state.survivors:
            raise AggregationRefusedError(
                "other survivors were fixed before",
                hint="sites confirm one list of an attempt",
                code=codes.SECOND_REQUEST,
            )
        return state
    verify_survivors(
        fixed,
        tuple(site for site in state.sharers if site not in fixed),
        sharers=state.sharers,
        num_directory=len(state.directory.peers),
        limits=state.rules,
    )
    return dataclasses.replace(state, survivors=fixed)


def confirm_request(state: AttemptState) -> bytes:
    """Give the request to sign the lists; the same for all survivors."""
    return encode(_lists(state))


def take_confirmation(state: AttemptState, site: SiteId, answer: bytes) -> AttemptState:
    """Take one survivor's signature over the transcript.

    Raises:
        AggregationRefusedError: It is of another site, or does not fit.
        MalformedMessageError: The answer is not canonical.
    """
    require_step(bool(state.survivors), "the survivors are not fixed yet")
    verify_present(site, state.survivors, "the survivors")
    confirmation = decode(Confirmation, answer)
    require_from(site, confirmation.site)
    for taken in state.confirmed:
        if taken.site == site:
            require_same(site, confirmation == taken)
            return state
    verify_confirmation(confirmation, state.rules.roster, state.transcript_sha256)
    return dataclasses.replace(state, confirmed=(*state.confirmed, confirmation))


def take_confirmations_in_advance(
    state: AttemptState, answers: Mapping[SiteId, bytes]
) -> AttemptState:
    """Take what sites signed with their vectors, if nobody dropped out and each one signed.

    Otherwise the state is as it was, and all are to be asked: who signed nothing reveals nothing.
    So they are where no site may leave any more: one that left is found with nothing revealed yet.

    Args:
        state: With its survivors fixed.
        answers: By site; not checked, and empty where a site signed nothing.
    """
    may_one_leave = len(state.survivors) > state.threshold
    if state.dropouts or not may_one_leave or not set(state.survivors) <= answers.keys():
        return state
    after = state
    try:
        for site in state.survivors:
            after = take_confirmation(after, site, answers[site])
    except FedwardError:
        return state
    return after


def verify_in_advance(state: AttemptState, site: SiteId, unverified: bytes) -> None:
    """Check what one sharer signed with its vector, as `take_confirmations_in_advance` does.

    Raises:
        AggregationRefusedError: It is of another site, or does not fit.
        MalformedMessageError: It is not canonical.
    """
    take_confirmation(dataclasses.replace(state, survivors=state.sharers), site, unverified)


def unmask_request(state: AttemptState) -> bytes:
    """Give the request to reveal shares, with the first t confirmations that came.

    Later ones change nothing: a site that was asked with some would refuse others.

    Raises:
        AggregationRefusedError: `SECAGG_TOO_FEW_SIGNATURES`: wait for more.
    """
    lists = _lists(state)
    if len(state.confirmed) < state.threshold:
        raise AggregationRefusedError(
            f"{len(state.confirmed)} survivors confirmed, {state.threshold} needed",
            hint="nothing was revealed; wait for more confirmations",
            code=codes.TOO_FEW_SIGNATURES,
        )
    first = sorted(state.confirmed[: state.threshold], key=lambda item: item.site)
    return encode(
        UnmaskRequest(lists.directory_sha256, lists.survivors, lists.dropouts, tuple(first))
    )


def take_unmask(state: AttemptState, site: SiteId, answer: bytes) -> AttemptState:
    """Take the shares that one survivor reveals.

    Raises:
        AggregationRefusedError: They are not those that were asked for.
        MalformedMessageError: The answer is not canonical.
    """
    require_step(bool(state.survivors), "the survivors are not fixed yet")
    verify_present(site, state.survivors, "the survivors")
    signed = decode(Signed, answer)
    if (taken := state.unmasked.get(site)) is not None:
        require_same(site, signed == taken)
        return state
    revealed = verify_unmask_answer(signed, state.rules.roster)
    require_from(site, revealed.site)
    verify_shares_asked_for(state, revealed)
    return dataclasses.replace(state, unmasked={**state.unmasked, site: signed})


def has_enough_shares(state: AttemptState) -> bool:
    """Say whether t shares of every secret came; that they fit shows in `remove_masks`."""
    return bool(state.survivors) and num_shares_missing(state) == 0


def num_shares_missing(state: AttemptState) -> int:
    """Give how many sites at least must still reveal their shares."""
    fewest = min((len(shares) for shares in revealed_shares(state).values()), default=0)
    return max(0, state.threshold - fewest)


def remove_masks(
    state: AttemptState, words: Words, lane: NDArray[np.uint64]
) -> tuple[WrongShare, ...]:
    """Take all masks off the totals, IN PLACE.

    Args:
        state: With enough shares.
        words: Sum of the survivors' masked words, modulo the size of a word.
        lane: Sum of their lanes, likewise.

    Returns:
        Shares that were wrong, as far as they were found on the way.

    Raises:
        AggregationRefusedError: `SECAGG_UNRECOVERABLE`. The totals are unchanged, and more answers
            may still be taken.
    """
    require_step(bool(state.survivors), "the survivors are not fixed yet")
    recovered = recover_masks(state)
    apply_masks(words, lane, recovered.masks, inverse=True)
    return recovered.wrong_shares


def _sharing_a_key(usable: Mapping[SiteId, Signed]) -> list[SiteId]:
    """Give the sites with a key that stands twice; whose it was first cannot be told."""
    holders: dict[bytes, list[SiteId]] = {}
    for site, signed in usable.items():
        keys = decode(RoundKeys, signed.body)
        for key in (keys.seal_key, keys.mask_key):
            holders.setdefault(key, []).append(site)
    return sorted({site for sites in holders.values() if len(sites) > 1 for site in sites})


def _lists(state: AttemptState) -> ConfirmRequest:
    require_step(bool(state.survivors), "the survivors are not fixed yet")
    return ConfirmRequest(state.directory.sha256, state.survivors, state.dropouts)
