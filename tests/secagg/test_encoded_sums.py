"""Encoded vectors through a whole round: packed, masked, summed over the survivors, and decoded.

Each round has as many sites as the codec has room for, and its survivors may be any t of them or
more. The oracle adds up whole numbers that it reads from each site's words without the codec.
"""

import functools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.secagg_federation import Federation, SeededEntropy, make_federation

from fedward_client import secagg_member as member
from fedward_common.identities import SiteId
from fedward_common.secagg.codec import Section, VectorCodec
from fedward_common.secagg.lane import LaneLayout
from fedward_common.secagg.layout import ContributionLayout
from fedward_common.secagg.thresholds import threshold_of
from fedward_common.wire import messages
from fedward_server import secagg_coordinator as coordinator
from fedward_server.coordinator.masked_totals import MaskedTotals

Bits = Literal[24, 32]
LENGTH = 3
RANGE = 1.0


@dataclass(frozen=True)
class Sent:
    """What the sites of a round have, and whose vectors come.

    Attributes:
        values: By site, `LENGTH` numbers each.
        weights: By site.
        survivors: Places of sites, in their order.
    """

    values: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    survivors: tuple[int, ...]

    @property
    def num_sites(self) -> int:
        """Sites of the directory, for which the codec is made."""
        return len(self.values)


def all_at(value: float, num_sites: int, num_survivors: int) -> Sent:
    """Every value of every site is the same; the last sites drop out."""
    values = ((value,) * LENGTH,) * num_sites
    return Sent(values, (1.0,) * num_sites, tuple(range(num_survivors)))


@st.composite
def rounds(draw: st.DrawFn) -> Sent:
    num_sites = draw(st.integers(4, 8))
    value = st.sampled_from([-RANGE, RANGE]) | st.floats(-2 * RANGE, 2 * RANGE, width=32)
    weight = st.just(1.0) | st.floats(0.0, 1.0, exclude_min=True)
    num_survivors = draw(st.integers(threshold_of(num_sites), num_sites))
    return Sent(
        values=tuple(draw(st.tuples(*[value] * LENGTH)) for _ in range(num_sites)),
        weights=tuple(draw(weight) for _ in range(num_sites)),
        survivors=tuple(sorted(draw(st.permutations(range(num_sites)))[:num_survivors])),
    )


@functools.cache
def all_shared(num_sites: int) -> Federation:
    """Masks do not hang on what is masked: one start serves all rounds of a size."""
    federation = make_federation(num_sites)
    federation.begin()
    federation.share()
    return federation


def layout_for(num_sites: int, bits: Bits, *, stochastic: bool) -> ContributionLayout:
    section = Section("update", LENGTH, RANGE)
    codec = VectorCodec(bits, num_sites, (section,), stochastic)
    return ContributionLayout(codec, LaneLayout((), num_sites))


def codec_of(layout: ContributionLayout) -> VectorCodec:
    assert isinstance(layout.words, VectorCodec)
    return layout.words


def encoded(codec: VectorCodec, sent: Sent) -> list[NDArray[np.uint32]]:
    """Words of every site."""
    return [
        codec.encode(
            {"update": np.array(values, dtype=np.float32)}, weight, entropy=SeededEntropy(place)
        ).words
        for place, (values, weight) in enumerate(zip(sent.values, sent.weights, strict=True))
    ]


def whole_numbers(words: NDArray[np.uint32], bits: Bits) -> NDArray[np.int64]:
    """Read two's complement of so many bits, without any code of the codec."""
    whole: NDArray[np.int64] = words.astype(np.int64) % 2**bits
    whole[whole >= 2 ** (bits - 1)] -= 2**bits
    return whole


def masked_totals(
    federation: Federation,
    layout: ContributionLayout,
    contributions: dict[SiteId, NDArray[np.uint32]],
) -> MaskedTotals:
    """Let these sites mask and pack, and add up what comes."""
    totals = MaskedTotals.empty(layout)
    for site, words in contributions.items():
        state, vector = member.mask(
            federation.states[site],
            federation.rules[site],
            coordinator.mask_request(federation.attempt, site),
            words.copy(),
            layout.lane.encode({}),
            packed_bytes=layout.word_bytes,
        )
        federation.keep(site, state)
        assert vector.words.nbytes == layout.word_bytes * layout.num_words
        totals.add({messages.MASKED: vector.words, messages.LANE: vector.lane}, layout)
    return totals


def unmasked_sum(
    layout: ContributionLayout, sent: Sent, words: list[NDArray[np.uint32]]
) -> NDArray[np.uint32]:
    """Play the round from masking on; the lane says whether all survivors are in the sum."""
    federation = all_shared(sent.num_sites).fork()
    survivors = {federation.sites[place]: words[place] for place in sent.survivors}
    totals = masked_totals(federation, layout, survivors)
    federation.attempt = coordinator.fix_survivors(federation.attempt, list(survivors))
    federation.confirm()
    federation.unmask()
    coordinator.remove_masks(federation.attempt, totals.words, totals.lane)
    layout.lane.decode(totals.lane, num_sites=len(survivors))
    assert totals.words.dtype == np.uint32
    return totals.words  # type: ignore[return-value]


@pytest.mark.parametrize("stochastic", [False, True], ids=["nearest", "stochastic"])
@pytest.mark.parametrize("bits", [24, 32])
@given(sent=rounds())
@example(sent=all_at(RANGE, num_sites=8, num_survivors=8))
@example(sent=all_at(-RANGE, num_sites=8, num_survivors=8))
@example(sent=all_at(RANGE, num_sites=8, num_survivors=6))
@example(sent=all_at(-RANGE, num_sites=7, num_survivors=5))
@settings(max_examples=20)
def test_the_decoded_sum_of_any_survivors_is_exactly_that_of_their_whole_numbers(
    bits: Bits, stochastic: bool, sent: Sent
) -> None:
    layout = layout_for(sent.num_sites, bits, stochastic=stochastic)
    codec = codec_of(layout)
    words = encoded(codec, sent)
    exact = sum(whole_numbers(words[place], bits) for place in sent.survivors)

    total = unmasked_sum(layout, sent, words)

    np.testing.assert_array_equal(whole_numbers(total, bits), exact)
    step = math.ldexp(1.0, -codec.fraction_bits(codec.sections[0]))
    np.testing.assert_array_equal(codec.decode(total)["update"], np.float32(exact * step))


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("num_survivors", [8, 6])
@pytest.mark.parametrize("stochastic", [False, True], ids=["nearest", "stochastic"])
@pytest.mark.parametrize(
    ("bits", "largest"),
    [(24, 1_048_575), (32, 268_435_455)],  # floor((2**(bits - 1) - 1) / 8), by hand
)
def test_eight_sites_at_the_bound_do_not_wrap_around(
    bits: Bits, largest: int, stochastic: bool, num_survivors: int, sign: int
) -> None:
    layout = layout_for(8, bits, stochastic=stochastic)
    sent = all_at(sign * RANGE, num_sites=8, num_survivors=num_survivors)
    words = encoded(codec_of(layout), sent)
    assert all((whole_numbers(mine, bits) == sign * largest).all() for mine in words)

    total = unmasked_sum(layout, sent, words)

    assert (whole_numbers(total, bits) == sign * largest * num_survivors).all()
    step = 1.0 / (largest + 1)  # R itself is one step beyond the largest whole number
    decoded = codec_of(layout).decode(total)["update"]
    np.testing.assert_array_equal(decoded, np.float32(sign * largest * num_survivors * step))
