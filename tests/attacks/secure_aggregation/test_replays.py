"""Everything that was said in an earlier attempt, round or purpose is said again in a later one."""

import dataclasses
from functools import partial

import numpy as np
import pytest
from tests.attacks.secure_aggregation.attacker import finish, lists_of, refuses, request_to_unmask
from tests.attacks.secure_aggregation.shown_directories import entries_of, shown
from tests.secagg_federation import (
    Federation,
    RecordedKem,
    RecordingKem,
    code_of,
    make_federation,
)
from tests.secagg_steps import request_of, up_to

from fedward_client.secagg_member import Stage
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import (
    Confirmation,
    MaskRequest,
    Sharer,
    UnmaskRequest,
    decode,
    encode,
)
from fedward_server import secagg_coordinator as coordinator

EARLIER: dict[str, dict[str, object]] = {
    "an earlier round": {"round": 3},
    "an earlier attempt": {"attempt": 0},
    "another purpose": {"purpose": "validation"},
    "another run": {"run": "run-0"},
}


@pytest.fixture(scope="module", params=list(EARLIER.values()), ids=list(EARLIER))
def earlier(request: pytest.FixtureRequest) -> Federation:
    """A whole round of before, with other keys."""
    federation = make_federation(4, num_words=2, num_lane=1, seed=9)
    federation.binding = dataclasses.replace(federation.binding, attempt=1)
    federation.binding = dataclasses.replace(federation.binding, **request.param)
    return up_to(federation, Stage.UNMASKED)


@pytest.fixture
def now() -> Federation:
    federation = make_federation(4, num_words=2, num_lane=1)
    federation.binding = dataclasses.replace(federation.binding, attempt=1)
    return federation


STEPS = {
    "share": (Stage.READY, codes.KEYS_CHANGED),
    "mask": (Stage.SHARED, codes.BINDING),
    "confirm": (Stage.MASKED, codes.BINDING),
    "unmask": (Stage.CONFIRMED, codes.SECOND_REQUEST),
}


@pytest.mark.parametrize(("step", "expected"), STEPS.items(), ids=STEPS)
def test_a_request_of_before_is_refused(
    earlier: Federation, now: Federation, step: str, expected: tuple[Stage, str]
) -> None:
    stage, code = expected
    up_to(now, stage)
    site = now.sites[0]
    one = {
        "share": now.share_one,
        "mask": now.mask_one,
        "confirm": now.confirm_one,
        "unmask": now.unmask_one,
    }
    refuses(now, site, partial(one[step], site, request_of(earlier, step, site)), code)
    finish(now)


def test_round_keys_of_before_are_refused(earlier: Federation, now: Federation) -> None:
    """Their private half may be known to somebody by now."""
    up_to(now, Stage.READY)
    victim, place = now.sites[0], 2
    entries = entries_of(now)
    entries[place] = entries_of(earlier)[place]
    refuses(now, victim, shown(now, victim, entries), codes.BINDING)
    finish(now)


def test_an_announcement_of_before_is_refused(earlier: Federation, now: Federation) -> None:
    up_to(now, Stage.SHARED)
    victim = now.sites[0]
    sharers, old = sharers_of(now, victim), sharers_of(earlier, victim)
    sharers[2] = old[2]
    request = encode(MaskRequest(tuple(sharers)))
    refuses(now, victim, partial(now.mask_one, victim, request), codes.BINDING)
    finish(now)


def test_a_packet_of_before_is_refused(earlier: Federation, now: Federation) -> None:
    up_to(now, Stage.SHARED)
    victim = now.sites[0]
    sharers, old = sharers_of(now, victim), sharers_of(earlier, victim)
    sharers[2] = Sharer(sharers[2].announcement, old[2].packet)
    request = encode(MaskRequest(tuple(sharers)))
    refuses(now, victim, partial(now.mask_one, victim, request), codes.BAD_PACKET)
    finish(now)


def sharers_of(federation: Federation, site: SiteId) -> list[Sharer]:
    return list(decode(MaskRequest, coordinator.mask_request(federation.attempt, site)).sharers)


def test_confirmations_of_before_are_refused(earlier: Federation, now: Federation) -> None:
    up_to(now, Stage.CONFIRMED)
    victim = now.sites[0]
    old = decode(UnmaskRequest, coordinator.unmask_request(earlier.attempt)).confirmations
    request = request_to_unmask(lists_of(now, now.sites), old)
    refuses(now, victim, partial(now.unmask_one, victim, request), codes.BAD_SIGNATURE)
    finish(now)


def test_the_coordinator_takes_no_answer_of_before(earlier: Federation, now: Federation) -> None:
    """An ally may replay to it as well."""
    up_to(now, Stage.READY)
    site = now.sites[3]
    take = partial(coordinator.take_share, now.attempt, site, earlier.share_answers[site])
    assert code_of(take) == codes.BINDING

    now.share()
    now.mask()
    old = next(c for c in earlier.attempt.confirmed if c.site == site)
    confirm = partial(coordinator.take_confirmation, now.attempt, site, encode(old))
    assert isinstance(old, Confirmation)
    assert code_of(confirm) == codes.BAD_SIGNATURE
    now.confirm()
    revealed = encode(earlier.attempt.unmasked[site])
    assert code_of(partial(coordinator.take_unmask, now.attempt, site, revealed)) == codes.BINDING


def test_round_keys_of_before_are_not_taken_by_the_coordinator(
    earlier: Federation, now: Federation
) -> None:
    up_to(now, Stage.READY)
    keys = now.keys | {now.sites[3]: earlier.keys[now.sites[3]]}
    _, left_out = coordinator.open_directory(now.coordinator_rules, now.binding, keys)
    assert left_out == {now.sites[3]: codes.BINDING}


@pytest.mark.parametrize("change", EARLIER.values(), ids=EARLIER)
def test_even_the_same_secrets_mask_differently_elsewhere(change: dict[str, object]) -> None:
    """A broken generator that repeats itself: keys are bound to where they are used."""
    here = make_federation(3, num_words=64, num_lane=8)
    here.binding = dataclasses.replace(here.binding, attempt=1)
    there = make_federation(3, num_words=64, num_lane=8)
    there.binding = dataclasses.replace(here.binding, **change)  # type: ignore[arg-type]
    recorded = RecordingKem()
    there.kems = dict.fromkeys(there.sites, recorded)
    there.entropy_of = lambda site, step: here.entropy_of(site, step)  # type: ignore[method-assign]
    up_to(there, Stage.MASKED)
    made = [(ciphertext, secret.reveal()) for ciphertext, secret in recorded.made]
    here.kems = dict.fromkeys(here.sites, RecordedKem(made))
    up_to(here, Stage.MASKED)

    for site in here.sites:
        assert here.states[site].secrets is not None
        assert np.count_nonzero(here.masked[site][0] == there.masked[site][0]) == 0
        assert np.count_nonzero(here.masked[site][1] == there.masked[site][1]) == 0
