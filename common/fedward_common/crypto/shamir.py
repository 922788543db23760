"""Shamir's secret sharing over GF(2^521 - 1): enough shares give the secret, fewer give nothing.

The secret is the constant term of a polynomial of degree threshold - 1 whose other coefficients are
uniform in the field; share k is its value at x = k + 1. Any threshold - 1 shares fit every secret
equally well (Shamir 1979, Communications of the ACM 22). Shares carry no proof: whoever combines
them checks the result against a commitment.

Arithmetic is Python's whole numbers, whose time depends on their values. Shares are made and
combined once a round on machines of their own, where nobody else can time one multiplication.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from math import prod

from fedward_common.crypto.entropy import Entropy, draw
from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import (
    AggregationRefusedError,
    ConfigurationError,
    MalformedMessageError,
    UnverifiedMessageError,
)

PRIME = 2**521 - 1
SHARE_BYTES = 66
SECRET_BYTES = 32


def split(
    secret: SecretBytes, *, num_shares: int, threshold: int, entropy: Entropy
) -> list[SecretBytes]:
    """Split 32 bytes into shares, any `threshold` of which give them back.

    Args:
        secret: 32 bytes.
        num_shares: How many shares to make.
        threshold: How many are needed, 1 to `num_shares`.
        entropy: Gives 66 bytes a coefficient, threshold - 1 coefficients in all.

    Returns:
        `num_shares` shares of 66 bytes, big-endian; the one at index k is for x = k + 1.

    Raises:
        ConfigurationError: No polynomial has such a threshold.
        MalformedMessageError: The secret has not 32 bytes.
    """
    if not 1 <= threshold <= num_shares:
        raise ConfigurationError(
            f"a secret cannot be split into {num_shares} shares of which {threshold} are needed"
        )
    constant = int.from_bytes(secret.reveal_exactly(SECRET_BYTES), "big")
    coefficients = [constant, *_uniform(threshold - 1, entropy, PRIME)]
    values = _values(coefficients, num_shares, PRIME)
    return [SecretBytes(value.to_bytes(SHARE_BYTES, "big")) for value in values]


def combine(shares: Mapping[int, SecretBytes], threshold: int) -> SecretBytes:
    """Give the secret that was split.

    Args:
        shares: By x, which is 1 for the first share of `split`. Of more than `threshold`, those
            with the lowest x are used.
        threshold: That of `split`.

    Returns:
        32 bytes. With a wrong share these are most often refused below, but not always: compare
        them with the commitment.

    Raises:
        AggregationRefusedError: Fewer than `threshold` shares (`SECAGG_UNRECOVERABLE`).
        MalformedMessageError: A share is not 66 bytes of a field element, or has no x.
        UnverifiedMessageError: What comes out is longer than 32 bytes: a share is wrong, or from
            another split.
    """
    if threshold < 1:
        raise ConfigurationError(f"no secret has a threshold of {threshold}")
    if len(shares) < threshold:
        raise AggregationRefusedError(
            f"{len(shares)} shares of a secret came, {threshold} are needed",
            hint="nothing was revealed; the round has to be started again",
            code="SECAGG_UNRECOVERABLE",
        )
    used = dict(islice(sorted(shares.items()), threshold))
    secret = _constant_term({x: _element(x, share) for x, share in used.items()}, PRIME)
    if secret.bit_length() > 8 * SECRET_BYTES:
        raise UnverifiedMessageError(
            f"{threshold} shares do not give a secret of {SECRET_BYTES} bytes: one is wrong",
            hint="try another subset of the shares",
        )
    return SecretBytes(secret.to_bytes(SECRET_BYTES, "big"))


def _element(x: int, share: SecretBytes) -> int:
    value = int.from_bytes(share.reveal_exactly(SHARE_BYTES), "big")
    if not 1 <= x < PRIME or value >= PRIME:
        raise MalformedMessageError("a share is not an element of the field, or has no place in it")
    return value


def _uniform(count: int, entropy: Entropy, prime: int) -> list[int]:
    """Draw field elements; what is too large is drawn again, so that none is likelier."""
    num_bits = prime.bit_length()
    num_bytes = (num_bits + 7) // 8
    elements: list[int] = []
    while len(elements) < count:
        drawn = int.from_bytes(draw(entropy, num_bytes), "big") & ((1 << num_bits) - 1)
        if drawn < prime:
            elements.append(drawn)
    return elements


def _values(coefficients: Sequence[int], num_shares: int, prime: int) -> list[int]:
    """Evaluate a polynomial, constant term first, at 1, 2, ..., `num_shares`."""
    values = []
    for x in range(1, num_shares + 1):
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * x + coefficient) % prime
        values.append(value)
    return values


def _constant_term(points: Mapping[int, int], prime: int) -> int:
    """Interpolate at 0: the sum of y_i times the product of x_j / (x_j - x_i) over j != i."""
    total = 0
    for x, y in points.items():
        others = [other for other in points if other != x]
        below = prod(other - x for other in others)
        total += y * prod(others) * pow(below, -1, prime)
    return total % prime
