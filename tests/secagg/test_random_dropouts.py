"""Any number of sites leave at any steps: the sum of the survivors, or an end that shows nothing.

Where a round ends is reckoned beforehand from who leaves when. Below the threshold the coordinator
stops; those still there are then asked to go on regardless, and refuse.
"""

import random
from collections.abc import Callable, Mapping
from functools import partial

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.attacks.secure_aggregation.attacker import Opened, refuses
from tests.secagg.ways_to_leave import (
    forced_confirm_request,
    forced_mask_request,
    forced_unmask_request,
    put_together,
)
from tests.secagg_federation import Federation, code_of, make_federation

from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_common.secagg.messages import RECOVERY, SELF_MASK
from fedward_common.secagg.thresholds import threshold_of
from fedward_server import secagg_coordinator as coordinator

SHARE, MASK, CONFIRM, UNMASK, SUM = "share", "mask", "confirm", "unmask", "sum"
STEPS = (SHARE, MASK, CONFIRM, UNMASK)

Leaving = Mapping[int, str]
"""By a site's place in the directory: the first step that it no longer answers."""


def confirm_by(federation: Federation, staying: list[SiteId]) -> None:
    federation.confirm(staying)
    coordinator.unmask_request(federation.attempt)


def unmask_by(federation: Federation, staying: list[SiteId]) -> None:
    federation.unmask(staying)
    federation.totals()


PLAYED: dict[str, Callable[[Federation, list[SiteId]], None]] = {
    SHARE: Federation.share,
    MASK: Federation.mask,
    CONFIRM: confirm_by,
    UNMASK: unmask_by,
}
STOPPED_BY = {
    SHARE: codes.TOO_FEW_SITES,
    MASK: codes.TOO_FEW_SITES,
    CONFIRM: codes.TOO_FEW_SIGNATURES,
    UNMASK: codes.UNRECOVERABLE,
}


def random_leaving(num_sites: int, seed: int) -> Leaving:
    """Any number of sites, all of them included, each at any step."""
    draw = random.Random(seed)
    leaving = draw.sample(range(num_sites), draw.randint(0, num_sites))
    return {place: draw.choice(STEPS) for place in leaving}


@st.composite
def rounds(draw: st.DrawFn) -> tuple[int, Leaving]:
    """A number of sites, and who of them leaves when."""
    num_sites = draw(st.integers(8, 16))
    num_leaving = draw(st.integers(0, num_sites))
    places = draw(st.permutations(range(num_sites)))[:num_leaving]
    return num_sites, {place: draw(st.sampled_from(STEPS)) for place in places}


def staying_at(step: str, sites: list[SiteId], leaving: Leaving) -> list[SiteId]:
    gone = STEPS[: STEPS.index(step) + 1]
    return [site for place, site in enumerate(sites) if leaving.get(place) not in gone]


def end_of(num_sites: int, leaving: Leaving) -> str:
    """The step that fewer than t sites answer, or the sum."""
    left = 0
    for step in STEPS:
        left += list(leaving.values()).count(step)
        if num_sites - left < threshold_of(num_sites):
            return step
    return SUM


def played_to(federation: Federation, leaving: Leaving) -> str:
    """Play a round; give the step at which the coordinator stops, or the sum."""
    for step, play in PLAYED.items():
        staying = staying_at(step, federation.sites, leaving)
        code = code_of(partial(play, federation, staying))
        if code:
            assert code == STOPPED_BY[step]
            return step
    return SUM


def revealed_by_site(federation: Federation) -> dict[SiteId, bytes]:
    """What sites answered to unmasking, whoever took it."""
    answered = {site: state.answered for site, state in federation.states.items()}
    return {site: given[UNMASK].answer for site, given in answered.items() if UNMASK in given}


def go_on_regardless(
    federation: Federation, stopped_at: str, staying: list[SiteId], site: SiteId
) -> object:
    """Send one site what would come next if nobody counted."""
    if stopped_at == SHARE:
        return federation.mask_one(site, forced_mask_request(federation, staying, site))
    if stopped_at == MASK:
        return federation.confirm_one(site, forced_confirm_request(federation, staying))
    return federation.unmask_one(site, forced_unmask_request(federation))


def assert_those_left_refuse_to_go_on(
    federation: Federation, stopped_at: str, leaving: Leaving
) -> None:
    staying = staying_at(stopped_at, federation.sites, leaving)
    for site in staying:
        act = partial(go_on_regardless, federation, stopped_at, staying, site)
        refuses(federation, site, act, STOPPED_BY[stopped_at])


def secrets_behind_the_sum(federation: Federation, leaving: Leaving) -> Opened:
    """One secret of each sharer: of a survivor the self-mask, of a dropout the recovery key."""
    survivors = staying_at(MASK, federation.sites, leaving)
    sharers = staying_at(SHARE, federation.sites, leaving)
    return {(site, SELF_MASK if site in survivors else RECOVERY) for site in sharers}


def assert_ends_as_it_must(num_sites: int, leaving: Leaving) -> str:
    """Play a round and check all that it shows; give how it ended."""
    federation = make_federation(num_sites, num_words=3, num_lane=2)
    federation.begin()
    ended = played_to(federation, leaving)
    assert ended == end_of(num_sites, leaving)
    revealed = revealed_by_site(federation)
    opened = put_together(federation, revealed)
    if ended == SUM:
        federation.assert_totals_are_those_of(staying_at(MASK, federation.sites, leaving))
        assert opened == secrets_behind_the_sum(federation, leaving)
        return ended
    assert not opened
    if ended != UNMASK:
        assert not revealed
        assert_those_left_refuse_to_go_on(federation, ended, leaving)
    return ended


@given(drawn=rounds())
@example(drawn=(8, {}))
@example(drawn=(8, dict.fromkeys(range(8), UNMASK)))
@settings(max_examples=40)
def test_whoever_leaves_whenever_a_round_ends_in_the_survivors_sum_or_in_nothing(
    drawn: tuple[int, Leaving],
) -> None:
    assert_ends_as_it_must(*drawn)


@pytest.mark.parametrize(
    ("num_sites", "seed"),
    [(11, 3), (16, 270), (25, 13), pytest.param(100, 13, marks=pytest.mark.slow)],
)
def test_random_dropouts_leave_the_sum_of_the_survivors(num_sites: int, seed: int) -> None:
    leaving = random_leaving(num_sites, seed)
    assert len(leaving) == num_sites - threshold_of(num_sites), "not as many as may leave"
    assert assert_ends_as_it_must(num_sites, leaving) == SUM


@pytest.mark.parametrize(
    ("num_sites", "seed", "stopped_at"),
    [
        (11, 223, SHARE),
        (11, 13, MASK),
        (11, 371, CONFIRM),
        (11, 77, UNMASK),
        (16, 158, SHARE),
        (16, 582, MASK),
        (16, 15, CONFIRM),
        (16, 53, UNMASK),
        (25, 1312, SHARE),
        (25, 1089, MASK),
        (25, 352, CONFIRM),
        (25, 115, UNMASK),
        pytest.param(100, 45, UNMASK, marks=pytest.mark.slow),
    ],
)
def test_random_dropouts_below_the_threshold_end_with_nothing_revealed(
    num_sites: int, seed: int, stopped_at: str
) -> None:
    assert assert_ends_as_it_must(num_sites, random_leaving(num_sites, seed)) == stopped_at
