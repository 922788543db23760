"""The end of an attempt at one site: the lists it signs, and the shares it then reveals."""

from fedward_client.secagg.member_state import MemberRules, MemberState
from fedward_client.secagg.step_guards import directory_of, secrets_of
from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import RECOVERY, SELF_MASK, ConfirmRequest, RevealedShare
from fedward_common.secagg.rules import verify_present, verify_survivors
from fedward_common.secagg.transcript import hash_of_transcript


def verify_lists(
    state: MemberState, rules: MemberRules, unverified: ConfirmRequest
) -> tuple[tuple[SiteId, ...], bytes]:
    """Check survivors and dropouts against what this site saw; give survivors and transcript."""
    directory = directory_of(state)
    if unverified.directory_sha256 != directory.sha256:
        raise AggregationRefusedError(
            "the lists are of another directory than this site shared in", code=codes.BINDING
        )
    survivors = tuple(map(SiteId, unverified.survivors))
    dropouts = tuple(map(SiteId, unverified.dropouts))
    verify_survivors(
        survivors,
        dropouts,
        sharers=state.sharers,
        num_directory=len(directory.peers),
        limits=rules,
    )
    verify_present(state.site, survivors, "the survivors")
    transcript = hash_of_transcript(directory.sha256, state.sharers_sha256, survivors, dropouts)
    return survivors, transcript


def revealed_shares(state: MemberState) -> tuple[RevealedShare, ...]:
    """Give one share of each sharer: which one, the confirmed lists say."""
    held, survivors = secrets_of(state).held, frozenset(state.survivors)
    return tuple(
        RevealedShare(site, SELF_MASK, held[site].self_mask.reveal())
        if site in survivors
        else RevealedShare(site, RECOVERY, held[site].recovery.reveal())
        for site in state.sharers
        if site in held
    )
