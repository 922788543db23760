"""What a site does for secure aggregation: keeps its contribution and its half of the protocol.

A round's contribution and secrets lie in a vault of the run's folder, each answer is written there
before it leaves, and any process of the site goes on from it. After unmasking only the answers are
left; when a higher round begins, nothing of a lower one is. A simulated site may keep the same in
memory (`round_memory`), where only the process that began a round goes on with it.
"""

import functools
import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedward_client import secagg_member as machine
from fedward_client.daemon.kept_round import KeptRound
from fedward_client.daemon.round_memory import RoundMemory
from fedward_client.daemon.round_store import RoundStore, close_rounds
from fedward_client.daemon.told_sums import ToldSums
from fedward_client.site_policy import SecureAggregationPolicy, read_policy
from fedward_common.consortium.roster import Roster
from fedward_common.crypto.key_agreement import SystemKem
from fedward_common.crypto.mask_stream import Words
from fedward_common.errors import AggregationRefusedError
from fedward_common.file_lock import held_lock
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.binding import RoundBinding, weights_sha256_of
from fedward_common.secagg.codec import RingCodec, VectorCodec
from fedward_common.secagg.layout import (
    CLIPPED,
    SUMS,
    WEIGHT,
    WEIGHT_ONE,
    ContributionLayout,
    fewest_ready_sites,
)
from fedward_common.secagg.messages import decode_abandonments
from fedward_common.secagg.rounds_in_memory import may_be_in_memory
from fedward_common.secagg.signed_items import verify_abandonment
from fedward_common.secagg.thresholds import sites_of_share
from fedward_common.wire import messages
from fedward_common.wire.envelope import WireArray
from fedward_common.wire.header import Header

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenRun, OpenSite

Vector = NDArray[np.float32] | NDArray[np.int64]

_LOCK = ".secure.lock"


@dataclass(frozen=True)
class Contribution:
    """What a site adds to a sum: named vectors with one weight, and sums of an evaluation."""

    vectors: Mapping[str, Vector]
    weight: float
    sums: NDArray[np.int64] | None


@dataclass(frozen=True)
class KnownRules:
    """Rules of a run, and what they were made of: policy, roster, and the codec's most sites."""

    made_of: "tuple[SecureAggregationPolicy, Roster, int]"
    rules: machine.MemberRules


def ready_once(
    site: "OpenSite",
    run: "OpenRun",
    header: Header,
    purpose: messages.SecurePurpose,
    layout: ContributionLayout,
    contribute: Callable[[], Contribution],
    kept: Callable[[], None] = lambda: None,
) -> messages.SecureReady:
    """Have the contribution of a round ready, and give fresh signed keys for this attempt.

    Asked again for an attempt, the keys are the same; in another attempt the contribution is.

    Args:
        site: Whose.
        run: With secure aggregation on.
        header: Of the request.
        purpose: What the sum is for.
        layout: Of the contribution.
        contribute: Makes it, where none was kept.
        kept: Called once it is on disk and before anybody hears of it.

    Raises:
        AggregationRefusedError: A rule of the protocol forbids this attempt.
    """
    with _one_at_a_time(run):
        return _ready(site, run, header, purpose, layout, contribute, kept)


def _ready(
    site: "OpenSite",
    run: "OpenRun",
    header: Header,
    purpose: messages.SecurePurpose,
    layout: ContributionLayout,
    contribute: Callable[[], Contribution],
    kept: Callable[[], None],
) -> messages.SecureReady:
    store = _store_of(site, run, purpose, header.round)
    store.forget_lower_rounds()
    binding = _binding_of(run, header, purpose, layout)
    earlier = store.state()
    if earlier is not None and earlier.binding == binding:
        return messages.SecureReady(earlier.round_keys)
    if purpose == "test":
        _close_rounds(site, run)  # the last question of a run
    if earlier is None and store.is_over:
        raise AggregationRefusedError("the round's secrets are destroyed", code=codes.CLOSED)
    rules = _rules_of(site, run, purpose, layout)
    shown = [] if earlier is None else store.abandonments(earlier.binding.attempt)
    state, keys = machine.begin(
        rules, binding, entropy=os.urandom, earlier=earlier, abandonments=shown
    )
    if store.contribution(layout, binding) is None:
        if earlier is not None and earlier.has_masked:
            raise AggregationRefusedError(
                "an attempt of this round had another contribution", code=codes.WEIGHTS_DIFFER
            )
        store.keep_contribution(layout, binding, *_encoded(layout, contribute()))
        kept()
    store.keep_state(state)
    return messages.SecureReady(keys)


def answer_step(
    site: "OpenSite",
    run: "OpenRun",
    header: Header,
    message: messages.SecureStep,
    layout_of: Callable[[str], ContributionLayout],
) -> tuple[messages.SecureStepReply, dict[str, WireArray], tuple[str, ...]]:
    """Answer one step of the protocol; the answer is on disk before it is given.

    Args:
        site: Whose.
        run: With secure aggregation on.
        header: Of the request.
        message: The step.
        layout_of: Gives the layout that has a hash.

    Returns:
        The answer, the arrays beside it, and what others did wrong and was borne.

    Raises:
        AggregationRefusedError: The request breaks a rule, by its name.
    """
    with _one_at_a_time(run):
        return _answered_step(site, run, header, message, layout_of)


def _answered_step(
    site: "OpenSite",
    run: "OpenRun",
    header: Header,
    message: messages.SecureStep,
    layout_of: Callable[[str], ContributionLayout],
) -> tuple[messages.SecureStepReply, dict[str, WireArray], tuple[str, ...]]:
    store = _store_of(site, run, message.purpose, header.round)
    state = store.state()
    if state is None:
        raise AggregationRefusedError("the round's secrets are destroyed", code=codes.CLOSED)
    if message.step == "abandon" and header.attempt < state.binding.attempt:
        return messages.SecureStepReply("abandon", _abandoned_before(state, header.attempt)), {}, ()
    if state.binding.attempt != header.attempt:
        raise AggregationRefusedError("another attempt is under way", code=codes.BINDING)
    if message.step == "abandoned":
        _keep_abandonments(store, state, run, message.body)
        return messages.SecureStepReply("abandoned", b""), {}, ()
    layout = layout_of(state.binding.codec_sha256)
    rules = _rules_of(site, run, message.purpose, layout)
    if message.step == "mask":
        after, answer, arrays = _masked(store, state, rules, message.body, layout)
        return messages.SecureStepReply("mask", answer), arrays, after.notes[len(state.notes) :]
    told = ToldSums(run.folder)
    if message.step == "confirm":
        told.require_same_sites(state.binding, message.body)
    state, answer = _small_step(state, rules, message)
    if message.step == "unmask" and state.survivors:
        told.note(state.binding, state.survivors)
    store.keep_state(state)
    return messages.SecureStepReply(message.step, answer), {}, ()


def _keep_abandonments(
    store: KeptRound, state: machine.MemberState, run: "OpenRun", unverified: bytes
) -> None:
    """Keep one abandonment of each site; rubbish would fill the disk and spoil the next attempt."""
    attempt = state.binding.attempt
    shown = [*decode_abandonments(unverified), *store.abandonments(attempt)]
    by_site = {verify_abandonment(item, run.roster, state.binding.sha256): item for item in shown}
    store.keep_abandonments(attempt, by_site.values())


def _abandoned_before(state: machine.MemberState, attempt: int) -> bytes:
    """Give what was signed when the site went on to a later attempt of the round."""
    signed = state.abandonments.get(replace(state.binding, attempt=attempt).sha256)
    if signed is None:
        raise AggregationRefusedError("this site began nothing in that attempt", code=codes.BINDING)
    return signed


def _small_step(
    state: machine.MemberState, rules: machine.MemberRules, message: messages.SecureStep
) -> tuple[machine.MemberState, bytes]:
    if message.step == "share":
        return machine.share(state, rules, message.body, entropy=os.urandom, kem=SystemKem())
    if message.step == "confirm":
        return machine.confirm(state, rules, message.body)
    if message.step == "unmask":
        return machine.unmask(state, rules, message.body)
    return machine.abandon(state, rules)


def _masked(
    store: KeptRound,
    state: machine.MemberState,
    rules: machine.MemberRules,
    request: bytes,
    layout: ContributionLayout,
) -> tuple[machine.MemberState, bytes, dict[str, WireArray]]:
    kept = store.contribution(layout, state.binding)
    if kept is None:
        raise AggregationRefusedError("the contribution is destroyed", code=codes.CLOSED)
    words, lane = kept
    state, vector = machine.mask(state, rules, request, words, lane, packed_bytes=layout.word_bytes)
    confirmation = b""
    if state.binding.purpose == "train":
        # Sums of an evaluation are told once: whoever still is there has to say so first.
        state, confirmation = machine.confirm_in_advance(state, rules)
    store.keep_state(state)
    return state, confirmation, {messages.MASKED: vector.words, messages.LANE: vector.lane}


def _encoded(
    layout: ContributionLayout, contribution: Contribution
) -> tuple[Words, NDArray[np.uint64]]:
    """Turn a contribution into ring elements and a lane.

    Raises:
        UnusableUpdateError: A value is NaN or infinite: nothing is masked.
    """
    fields: dict[str, NDArray[np.int64]] = {}
    words: Words = np.empty(0, dtype=np.uint32)
    num_clipped = 0
    if isinstance(layout.words, RingCodec):
        (shares,) = contribution.vectors.values()
        words = layout.words.words_of(shares.view(np.int64))
    elif isinstance(layout.words, VectorCodec):
        encoded = layout.words.encode(
            contribution.vectors,  # type: ignore[arg-type]  # float32, as the codec checks
            contribution.weight,
            entropy=os.urandom,
        )
        words, num_clipped = encoded.words, encoded.num_clipped
    if layout.words is not None:
        weight = round(contribution.weight * WEIGHT_ONE)
        fields |= {WEIGHT: np.array([weight]), CLIPPED: np.array([num_clipped])}
    if contribution.sums is not None:
        fields[SUMS] = contribution.sums
    return words, layout.lane.encode(fields)


def _binding_of(
    run: "OpenRun", header: Header, purpose: messages.SecurePurpose, layout: ContributionLayout
) -> RoundBinding:
    return RoundBinding(
        consortium=header.consortium,
        run=header.run,
        purpose=purpose,
        round=header.round,
        attempt=header.attempt,
        manifest_sha256=run.manifest_sha256,
        roster_version=run.roster.version,
        roster_sha256=run.roster.sha256,
        weights_sha256=weights_sha256_of(header.arrays_sha256),
        codec_sha256=layout.sha256,
        suite=run.manifest.suite,
    )


def _rules_of(
    site: "OpenSite",
    run: "OpenRun",
    purpose: messages.SecurePurpose,
    layout: ContributionLayout,
) -> machine.MemberRules:
    made_of = (read_policy(site.home).secure_aggregation, run.roster, layout.lane.max_sites)
    known = run.rules.get(purpose)
    if known is None or known.made_of != made_of:
        rules = _made_rules(site, run, purpose, *made_of)
        known = run.rules[purpose] = KnownRules(made_of, rules)
    return known.rules


def _made_rules(
    site: "OpenSite",
    run: "OpenRun",
    purpose: messages.SecurePurpose,
    policy: SecureAggregationPolicy,
    roster: Roster,
    max_sites: int,
) -> machine.MemberRules:
    trainers = run.manifest.training_sites
    participants = roster.sites if purpose == "test" else trainers
    return machine.MemberRules(
        site=site.site_id,
        signing_key=site.key,
        roster=roster,
        participants=frozenset(SiteId(name) for name in participants),
        minimum_sites=max(
            fewest_ready_sites(run.job, purpose, len(trainers)),
            sites_of_share(policy.minimum_share, len(trainers)),
        ),
        minimum_organisations=policy.minimum_organisations,
        max_sites=max_sites,
    )


def _store_of(
    site: "OpenSite", run: "OpenRun", purpose: messages.SecurePurpose, number: int
) -> KeptRound:
    opened = site.open_rounds
    known = opened.get((run.folder, purpose))
    store: KeptRound
    if _is_in_memory(site, run, purpose):
        if not isinstance(known, RoundMemory) or known.grid != site.rounds_in_memory:
            known = RoundMemory(number, site.rounds_in_memory)
        store = known.of_round(number)
    elif isinstance(known, RoundStore) and known.is_of(purpose, number):
        return known
    else:
        # A simulation that is killed takes all its sites along; none has to outlive a power cut.
        store = RoundStore.of(run.folder, purpose, number, durable=not site.is_simulated)
    opened[run.folder, purpose] = store
    return store


def _is_in_memory(site: "OpenSite", run: "OpenRun", purpose: messages.SecurePurpose) -> bool:
    """Whether a round is kept in memory alone, as it never is at a hospital."""
    return (
        site.is_simulated
        and bool(site.rounds_in_memory)
        and purpose == "train"
        and may_be_in_memory(run.job, run.manifest.num_parameters)
    )


def _close_rounds(site: "OpenSite", run: "OpenRun") -> None:
    """End the rounds of training and validation: what no sum was made of is kept no longer."""
    for purpose in ("train", "validation"):
        known = site.open_rounds.get((run.folder, purpose))
        if isinstance(known, RoundMemory):
            known.close()
        else:
            site.open_rounds.pop((run.folder, purpose), None)
    close_rounds(run.folder, durable=not site.is_simulated)


def _one_at_a_time(run: "OpenRun") -> AbstractContextManager[None]:
    """Wait for other processes of the site: two that read one state could sign two lists."""
    return held_lock(_lock_in(run.folder))


# One path for all messages of a run: making one costs more than taking the lock.
_lock_in = functools.lru_cache(maxsize=64)(lambda folder: folder / _LOCK)
