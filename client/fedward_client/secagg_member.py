"""A site in a round of secure aggregation: its steps, each a function of state and request.

Rules that every step keeps:

- A request that was answered is answered again with the same bytes; a different one of the same
  step is refused, so that a site never shows two faces in one attempt.
- The coordinator is not believed: every list, signature and key is checked here again.
- A step that is refused changes nothing. The new state is stored before the answer leaves.
- After `unmask` the secrets are gone from the state; after `abandon` too, and then nothing of that
  attempt is ever confirmed or unmasked.

Entropy and the KEM are arguments; nothing here reads a file, a clock or a socket.

Source: Bonawitz et al. 2017, eprint 2017/281, figure 4 with the consistency check.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedward_client.secagg.closing import revealed_shares, verify_lists
from fedward_client.secagg.dealing import deal
from fedward_client.secagg.masked_vector import MaskedVector
from fedward_client.secagg.member_state import (
    MemberRules,
    MemberState,
    RoundSecrets,
    Stage,
    without_secrets,
)
from fedward_client.secagg.receiving import masks_of, take_packets
from fedward_client.secagg.step_guards import (
    CONFIRM,
    CONFIRM_IN_ADVANCE,
    MASK,
    SHARE,
    UNMASK,
    answer_given,
    closed_error,
    confirmed_of,
    directory_of,
    private_keys_of,
    require_stage,
    secrets_of,
    with_answer,
)
from fedward_common.crypto.entropy import Entropy
from fedward_common.crypto.key_agreement import HybridPrivateKey, Kem
from fedward_common.crypto.mask_stream import Words, apply_masks
from fedward_common.errors import AggregationRefusedError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding
from fedward_common.secagg.messages import (
    CONFIRMATION_CONTEXT,
    Abandonment,
    Confirmation,
    ConfirmRequest,
    RoundKeys,
    ShareRequest,
    Signed,
    UnmaskAnswer,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_common.secagg.rules import (
    verify_next_attempt,
    verify_own_binding,
    verify_present,
)
from fedward_common.secagg.signed_items import (
    sign_item,
    verify_abandonment,
    verify_confirmations,
    verify_directory,
    verify_round_keys,
)
from fedward_common.secagg.thresholds import abandonments_needed

__all__ = [
    "MemberRules",
    "MemberState",
    "Stage",
    "abandon",
    "begin",
    "confirm",
    "confirm_in_advance",
    "mask",
    "share",
    "unmask",
]


def begin(
    rules: MemberRules,
    binding: RoundBinding,
    *,
    entropy: Entropy,
    earlier: MemberState | None = None,
    abandonments: Sequence[bytes] = (),
) -> tuple[MemberState, bytes]:
    """Make fresh keys for an attempt.

    Args:
        rules: What this site demands.
        binding: What the attempt is about, as this site knows it itself.
        entropy: Gives twice 96 bytes: seal key, mask key.
        earlier: State of the last attempt of this round and purpose, if there was one. From here
            on it counts as abandoned.
        abandonments: Of other sites' and its own, of that earlier attempt. Needed if this site
            masked in it: only when too few sites are left that would unmask it, the same
            contribution may be masked again.

    Returns:
        The state, and the signed round keys (READY).

    Raises:
        AggregationRefusedError: `SECAGG_CLOSED` after unmasking, `SECAGG_MASKED_BEFORE` with too
            few abandonments, or what in the binding is wrong.
    """
    verify_own_binding(binding, rules.roster)
    abandoned: dict[str, bytes] = {}
    if earlier is not None:
        _verify_may_begin_again(rules, binding, earlier, abandonments)
        abandoned = dict(abandon(earlier, rules)[0].abandonments)
    seal_private = HybridPrivateKey.generate(entropy)
    mask_private = HybridPrivateKey.generate(entropy)
    keys = RoundKeys(
        binding, rules.site, seal_private.public.to_bytes(), mask_private.public.to_bytes()
    )
    signed = sign_item(keys, rules.signing_key)
    # Finds a signing key or a role that the roster does not know before anybody else does.
    verify_round_keys(signed, rules.roster, binding)
    answer = encode(signed)
    secrets = RoundSecrets(
        seal_private.to_secret(), mask_private.to_secret(), own_keys=(seal_private, mask_private)
    )
    state = MemberState(Stage.READY, rules.site, binding, answer, secrets, abandonments=abandoned)
    return state, answer


def share(
    state: MemberState, rules: MemberRules, request: bytes, *, entropy: Entropy, kem: Kem
) -> tuple[MemberState, bytes]:
    """Check the directory, then deal out shares, ciphertexts and the recovery blob.

    Raises:
        AggregationRefusedError: The name of the rule that the directory breaks.
        MalformedMessageError: The request is not canonical.
    """
    if (answer := answer_given(state, rules, SHARE, request)) is not None:
        return state, answer
    require_stage(state, Stage.READY)
    entries = decode(ShareRequest, request).directory
    _verify_own_keys(state, entries)
    directory = verify_directory(entries, rules, state.binding)
    verify_present(state.site, directory.sites, "the directory")
    seal_private, mask_private = private_keys_of(state)
    dealt = deal(
        directory,
        state.site,
        signing_key=rules.signing_key,
        seal_private=seal_private,
        mask_private=mask_private,
        entropy=entropy,
        kem=kem,
    )
    secrets = dataclasses.replace(
        secrets_of(state),
        self_mask_seed=dealt.self_mask_seed,
        pair_keys=dealt.pair_keys,
        held={state.site: dealt.own_shares},
    )
    after = dataclasses.replace(state, stage=Stage.SHARED, directory=directory, secrets=secrets)
    return with_answer(after, SHARE, request, dealt.answer), dealt.answer


def mask(
    state: MemberState,
    rules: MemberRules,
    request: bytes,
    words: Words,
    lane: NDArray[np.uint64],
    *,
    packed_bytes: int,
) -> tuple[MemberState, MaskedVector]:
    """Check who shared, then mask words and lane IN PLACE; their memory becomes the answer.

    Nothing is masked before the request is checked. It may come again, with the same words and
    lane, until the attempt is unmasked or abandoned.

    Args:
        state: From `share` on.
        rules: What this site demands.
        request: Of the coordinator.
        words: The encoded contribution; the caller's own copy, contiguous and writable.
        lane: Its lane, likewise.
        packed_bytes: Of a word on the wire.

    Returns:
        The state and the vector. A packet that its sender sealed wrongly is borne and noted in
        `state.notes`: its shares are missing here, its mask is not.

    Raises:
        AggregationRefusedError: The name of the rule that the request breaks. `SECAGG_CLOSED`
            after unmasking. `SECAGG_SECOND_REQUEST` also for another contribution than the one
            that was masked before; words and lane are zeros then.
        MalformedMessageError: The request is not canonical.
    """
    is_first = answer_given(state, rules, MASK, request) is None
    if is_first:
        require_stage(state, Stage.SHARED)
        state = take_packets(state, rules, request)
    if state.secrets is None:
        raise closed_error("masked")
    apply_masks(
        words, lane, masks_of(state.site, state.sharers, directory_of(state), state.secrets)
    )
    vector = MaskedVector.of(words, lane, packed_bytes)
    if is_first:
        secrets = dataclasses.replace(state.secrets, masked_sha256=vector.sha256)
        return dataclasses.replace(state, secrets=secrets), vector
    # The same masks on the same contribution give the same bytes, which are hashed to be sent.
    if state.secrets.masked_sha256 != vector.sha256:
        raise _second_contribution(words, lane)
    return state, vector


def confirm_in_advance(state: MemberState, rules: MemberRules) -> tuple[MemberState, bytes]:
    """Sign, with the masked vector, that all sharers survived: what is agreed on if they do.

    If one does not, the site still confirms the other list, once, and from then on reveals nothing
    for this one. Why no two lists are opened stands in `docs/SECURE_AGGREGATION.md`, Thresholds.

    Returns:
        The state, and the confirmation; empty where another list was confirmed already.

    Raises:
        AggregationRefusedError: The name of the rule that the list of all sharers breaks.
    """
    if (given := state.answered.get(CONFIRM_IN_ADVANCE)) is not None:
        return state, given.answer
    if state.stage is not Stage.MASKED:
        return state, b""
    lists = ConfirmRequest(directory_of(state).sha256, state.sharers, ())
    _, answer = _confirmed(state, rules, lists)
    return with_answer(state, CONFIRM_IN_ADVANCE, encode(lists), answer), answer


def confirm(state: MemberState, rules: MemberRules, request: bytes) -> tuple[MemberState, bytes]:
    """Check the list of survivors and sign it, with all that was agreed on before; once.

    From then on this list counts, and not the one that was confirmed in advance.

    Raises:
        AggregationRefusedError: The name of the rule that the list breaks.
        MalformedMessageError: The request is not canonical.
    """
    if (answer := answer_given(state, rules, CONFIRM, request)) is not None:
        return state, answer
    require_stage(state, Stage.MASKED)
    survivors, answer = _confirmed(state, rules, decode(ConfirmRequest, request))
    after = dataclasses.replace(state, stage=Stage.CONFIRMED, survivors=survivors)
    return with_answer(after, CONFIRM, request, answer), answer


def unmask(state: MemberState, rules: MemberRules, request: bytes) -> tuple[MemberState, bytes]:
    """Check that t survivors signed the same lists, then reveal shares and destroy the secrets.

    Of each survivor the share of its self-mask seed is revealed, of each dropout that of its
    recovery key; never both.

    Raises:
        AggregationRefusedError: The name of the rule that the request breaks.
        MalformedMessageError: The request is not canonical.
    """
    if (answer := answer_given(state, rules, UNMASK, request)) is not None:
        return state, answer
    confirmed = confirmed_of(state)
    unverified = decode(UnmaskRequest, request)
    lists = ConfirmRequest(unverified.directory_sha256, unverified.survivors, unverified.dropouts)
    if hashlib.sha256(encode(lists)).digest() != confirmed.request_sha256:
        raise AggregationRefusedError(
            "the lists to be unmasked are not the lists that were confirmed",
            hint="nothing was revealed",
            code=codes.SECOND_REQUEST,
        )
    survivors, transcript = verify_lists(state, rules, lists)
    verify_confirmations(
        unverified.confirmations,
        roster=rules.roster,
        survivors=survivors,
        transcript_sha256=transcript,
        threshold=directory_of(state).threshold,
    )
    state = dataclasses.replace(state, survivors=survivors)
    signed = sign_item(
        UnmaskAnswer(state.site, transcript, revealed_shares(state)), rules.signing_key
    )
    answer = encode(signed)
    after = without_secrets(state, stage=Stage.UNMASKED)
    return with_answer(after, UNMASK, request, answer), answer


def abandon(state: MemberState, rules: MemberRules) -> tuple[MemberState, bytes]:
    """Give up an attempt for good, and sign that.

    Raises:
        AggregationRefusedError: `SECAGG_CLOSED`: shares were revealed already.
    """
    own = state.binding.sha256
    if state.stage is Stage.ABANDONED:
        return state, state.abandonments[own]
    if state.stage is Stage.UNMASKED:
        raise closed_error("abandoned")
    signed = encode(sign_item(Abandonment(state.site, own), rules.signing_key))
    after = without_secrets(
        state, stage=Stage.ABANDONED, abandonments={**state.abandonments, own: signed}
    )
    return after, signed


def _second_contribution(words: Words, lane: NDArray[np.uint64]) -> AggregationRefusedError:
    """Wipe what was masked with keys that another contribution was masked with, and say so."""
    words.fill(0)
    lane.fill(0)
    return AggregationRefusedError(
        "another contribution than before was to be masked with the same keys",
        hint="two of them would show their difference; the attempt has to be abandoned",
        code=codes.SECOND_REQUEST,
    )


def _confirmed(
    state: MemberState, rules: MemberRules, unverified: ConfirmRequest
) -> tuple[tuple[SiteId, ...], bytes]:
    """Check lists; give the survivors, and the confirmation of the transcript."""
    survivors, transcript = verify_lists(state, rules, unverified)
    signature = rules.signing_key.sign(transcript, context=CONFIRMATION_CONTEXT)
    return survivors, encode(Confirmation(state.site, signature))


def _verify_may_begin_again(
    rules: MemberRules,
    binding: RoundBinding,
    earlier: MemberState,
    abandonments: Sequence[bytes],
) -> None:
    if earlier.stage is Stage.UNMASKED:
        raise closed_error("begun again")
    verify_next_attempt(binding, earlier.binding)
    if not earlier.has_masked:
        return
    own = earlier.binding.sha256
    sites = set(directory_of(earlier).sites)
    given_up = {verify_abandonment(item, rules.roster, own) for item in abandonments} & sites
    needed = abandonments_needed(len(sites))
    if len(given_up) < needed:
        raise AggregationRefusedError(
            f"{len(given_up)} of {len(sites)} sites abandoned attempt {earlier.binding.attempt}, "
            f"in which this site masked; {needed} needed",
            hint="until then that attempt could still be unmasked beside this one",
            code=codes.MASKED_BEFORE,
        )


def _verify_own_keys(state: MemberState, entries: Sequence[Signed]) -> None:
    own = decode(Signed, state.round_keys)
    for entry in entries:
        if decode(RoundKeys, entry.body).site == state.site and entry != own:
            raise AggregationRefusedError(
                "the round keys under this site's name are not those it signed",
                hint="somebody stands between this site and the others",
                code=codes.KEYS_CHANGED,
            )
