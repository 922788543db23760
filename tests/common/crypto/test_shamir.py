import contextlib
import itertools
import os
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.crypto.crypto_vectors import replayed, unhex, vectors

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.crypto.shamir import (
    PRIME,
    SHARE_BYTES,
    _constant_term,
    _uniform,
    _values,
    combine,
    split,
)
from fedward_common.errors import (
    AggregationRefusedError,
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)

KNOWN = vectors("shamir")
secrets = st.binary(min_size=32, max_size=32)


def slow_constant_term(points: dict[int, int], prime: int) -> int:
    """Newton's divided differences in fractions, reduced at the end."""
    places = sorted(points)
    column = [Fraction(points[x]) for x in places]
    total, product = Fraction(0), Fraction(1)
    for depth, x in enumerate(places):
        total += column[0] * product
        product *= -x
        column = [
            (after - before) / (places[i + depth + 1] - places[i])
            for i, (before, after) in enumerate(itertools.pairwise(column))
        ]
    return total.numerator * pow(total.denominator, -1, prime) % prime


def share(value: int) -> SecretBytes:
    return SecretBytes(value.to_bytes(SHARE_BYTES, "big"))


def numbered(shares: list[SecretBytes]) -> dict[int, SecretBytes]:
    return dict(enumerate(shares, start=1))


# Known answers


def test_the_shares_worked_by_hand_over_a_small_field() -> None:
    known = KNOWN["small_field"]
    values = _values(known["coefficients"], 5, known["prime"])
    assert values == known["shares"]
    for places in itertools.combinations(range(1, 6), 3):
        points = {x: values[x - 1] for x in places}
        assert _constant_term(points, known["prime"]) == known["coefficients"][0]


@pytest.mark.parametrize("name", ["real_field_by_hand", "real_field"])
def test_the_shares_worked_apart_over_the_real_field(name: str) -> None:
    known = KNOWN[name]
    (secret, entropy) = (SecretBytes(content) for content in unhex(known, "secret", "entropy"))
    threshold, expected = known["threshold"], known["shares"]
    shares = split(
        secret,
        num_shares=len(expected),
        threshold=threshold,
        entropy=replayed(entropy.reveal()),
    )
    assert [one.reveal().hex() for one in shares] == expected
    for places in itertools.combinations(range(1, len(expected) + 1), threshold):
        chosen = {x: SecretBytes(bytes.fromhex(expected[x - 1])) for x in places}
        assert combine(chosen, threshold) == secret


# Properties


@given(secret=secrets, data=st.data())
@settings(max_examples=60)
def test_any_threshold_of_the_shares_gives_the_secret(secret: bytes, data: st.DataObject) -> None:
    num_shares = data.draw(st.integers(1, 25))
    threshold = data.draw(st.integers(1, num_shares))
    shares = numbered(
        split(SecretBytes(secret), num_shares=num_shares, threshold=threshold, entropy=os.urandom)
    )
    places = data.draw(st.permutations(list(shares)))
    for chosen in (places[:threshold], places):
        assert combine({x: shares[x] for x in chosen}, threshold).reveal() == secret


@pytest.mark.parametrize("num_shares", [2, 3, 4, 7])
def test_every_threshold_and_every_subset_gives_the_secret(num_shares: int) -> None:
    secret = SecretBytes(b"\xff" * 32)
    for threshold in range(1, num_shares + 1):
        shares = numbered(
            split(secret, num_shares=num_shares, threshold=threshold, entropy=os.urandom)
        )
        for places in itertools.combinations(shares, threshold):
            assert combine({x: shares[x] for x in places}, threshold) == secret


def test_a_hundred_sites_share_a_secret() -> None:
    secret = SecretBytes(os.urandom(32))
    shares = numbered(split(secret, num_shares=100, threshold=67, entropy=os.urandom))
    assert {len(one) for one in shares.values()} == {SHARE_BYTES}
    assert combine({x: shares[x] for x in range(34, 101)}, 67) == secret


@given(
    points=st.dictionaries(st.integers(1, 200), st.integers(0, PRIME - 1), min_size=1, max_size=8)
)
def test_interpolation_is_that_of_the_slow_one(points: dict[int, int]) -> None:
    assert _constant_term(points, PRIME) == slow_constant_term(points, PRIME)


@given(
    coefficients=st.lists(st.integers(0, 256), min_size=1, max_size=6),
    num_shares=st.integers(1, 10),
)
def test_a_share_is_the_sum_of_powers(coefficients: list[int], num_shares: int) -> None:
    expected = [
        sum(c * x**power for power, c in enumerate(coefficients)) % 257
        for x in range(1, num_shares + 1)
    ]
    assert _values(coefficients, num_shares, 257) == expected


# One share too few says nothing


@pytest.mark.parametrize(("prime", "threshold", "num_shares"), [(31, 3, 5), (7, 4, 6), (257, 2, 4)])
def test_one_share_too_few_fits_every_secret_equally_often(
    prime: int, threshold: int, num_shares: int
) -> None:
    # All polynomials there are: the shares of every coalition are uniform, whatever the secret.
    coalitions = list(itertools.combinations(range(num_shares), threshold - 1))
    for secret in range(0, prime, max(1, prime // 31)):
        seen: dict[tuple[int, ...], Counter[tuple[int, ...]]] = {c: Counter() for c in coalitions}
        for coefficients in itertools.product(range(prime), repeat=threshold - 1):
            values = _values([secret, *coefficients], num_shares, prime)
            for coalition in coalitions:
                seen[coalition][tuple(values[k] for k in coalition)] += 1
        for counts in seen.values():
            assert len(counts) == prime ** (threshold - 1)
            assert set(counts.values()) == {1}


def test_every_coefficient_is_drawn_equally_often() -> None:
    # All pairs of bytes: the first one where it is below the prime, else the second.
    drawn: Counter[int] = Counter()
    for first, second in itertools.product(range(256), repeat=2):
        entropy = replayed(bytes([first, second, 0]))
        drawn[_uniform(1, entropy, 31)[0]] += 1
    # 31 of 32 first bytes are taken. Of the others, 31 of 32 second bytes; the rest take the 0.
    last = drawn[0] - drawn[1]
    assert last == 8 * 8
    assert {drawn[value] for value in range(1, 31)} == {8 * 256 + 8 * 8}


def test_the_value_of_the_prime_is_drawn_again() -> None:
    entropy = replayed(PRIME.to_bytes(66, "big") + (PRIME - 1).to_bytes(66, "big"))
    assert _uniform(1, entropy, PRIME) == [PRIME - 1]


def test_bits_above_the_field_are_dropped() -> None:
    assert _uniform(1, replayed(b"\xfe" + bytes(65)), PRIME) == [0]


def test_a_threshold_draws_one_coefficient_less() -> None:
    asked: list[int] = []

    def entropy(num_bytes: int) -> bytes:
        asked.append(num_bytes)
        return os.urandom(num_bytes)

    split(SecretBytes(bytes(32)), num_shares=9, threshold=7, entropy=entropy)
    assert asked == [66] * 6


def test_entropy_that_runs_dry_makes_no_shares() -> None:
    with pytest.raises(ConfigurationError, match="gave 1 bytes, 66"):
        split(SecretBytes(bytes(32)), num_shares=3, threshold=3, entropy=replayed(bytes(67)))


# Refusals


@pytest.mark.parametrize(("num_shares", "threshold"), [(0, 0), (3, 0), (3, 4), (3, -1), (0, 1)])
def test_no_secret_is_split_with_an_impossible_threshold(num_shares: int, threshold: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{num_shares} shares of which {threshold}"):
        split(
            SecretBytes(bytes(32)), num_shares=num_shares, threshold=threshold, entropy=os.urandom
        )


@pytest.mark.parametrize("num_bytes", [0, 31, 33, 66])
def test_a_secret_of_another_length_is_not_split(num_bytes: int) -> None:
    with pytest.raises(MalformedMessageError, match="32 are needed"):
        split(SecretBytes(bytes(num_bytes)), num_shares=3, threshold=2, entropy=os.urandom)


def test_too_few_shares_are_refused() -> None:
    with pytest.raises(AggregationRefusedError, match="1 shares of a secret came, 2") as refused:
        combine({1: share(5)}, 2)
    assert refused.value.code == "SECAGG_UNRECOVERABLE"


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_threshold_below_one_is_refused(threshold: int) -> None:
    with pytest.raises(ConfigurationError):
        combine({1: share(5)}, threshold)


@pytest.mark.parametrize(
    ("x", "wrong"),
    [
        (0, share(1)),
        (-1, share(1)),
        (PRIME, share(1)),
        (PRIME + 1, share(1)),
        (1, share(PRIME)),
        (1, SecretBytes(b"\xff" * 66)),
        (1, SecretBytes(bytes(65))),
        (1, SecretBytes(bytes(67))),
        (1, SecretBytes(b"")),
    ],
)
def test_a_share_outside_the_field_is_malformed(x: int, wrong: SecretBytes) -> None:
    with pytest.raises(MalformedMessageError):
        combine({x: wrong, 2: share(2)}, 2)


@given(secret=secrets, position=st.integers(0, 2), change=st.integers(1, PRIME - 1))
@settings(max_examples=60)
def test_a_wrong_share_never_gives_the_secret(secret: bytes, position: int, change: int) -> None:
    shares = numbered(split(SecretBytes(secret), num_shares=3, threshold=3, entropy=os.urandom))
    honest = int.from_bytes(shares[position + 1].reveal(), "big")
    shares[position + 1] = share((honest + change) % PRIME)
    with contextlib.suppress(UnverifiedMessageError):
        assert combine(shares, 3).reveal() != secret


def test_a_result_longer_than_a_secret_is_refused() -> None:
    with pytest.raises(UnverifiedMessageError, match="one is wrong"):
        combine({1: share(2**256)}, 1)
    assert combine({1: share(2**256 - 1)}, 1).reveal() == b"\xff" * 32


def test_the_shares_with_the_lowest_places_are_used() -> None:
    shares = numbered(
        split(SecretBytes(b"\x07" * 32), num_shares=4, threshold=2, entropy=os.urandom)
    )
    shares[4] = share(1)
    assert combine(dict(reversed(shares.items())), 2).reveal() == b"\x07" * 32
