"""How disclosures add up in a ledger: same mechanism, more steps.

Every disclosure is a mechanism with its parameters and a count (steps or releases). A run may begin
what its reservation holds of exactly these parameters, and no more.
"""

import dataclasses
import functools
from collections.abc import Iterable
from typing import assert_never

from fedward_common.privacy.disclosures import (
    Disclosure,
    Gaussian,
    JointSteps,
    SampledGaussian,
    Unbounded,
)

Charges = tuple[Disclosure, ...]


def count_of(disclosure: Disclosure) -> int:
    """Give the number of steps or releases; 1 for what has no bound."""
    match disclosure:
        case SampledGaussian() | JointSteps():
            return disclosure.num_steps
        case Gaussian():
            return disclosure.num_releases
        case Unbounded():
            return 1
        case _:
            assert_never(disclosure)


def with_count(disclosure: Disclosure, count: int) -> Disclosure:
    """Give the same mechanism with another number of steps or releases."""
    match disclosure:
        case SampledGaussian() | JointSteps():
            return dataclasses.replace(disclosure, num_steps=count)
        case Gaussian():
            return dataclasses.replace(disclosure, num_releases=count)
        case Unbounded():
            return disclosure
        case _:
            assert_never(disclosure)


@functools.lru_cache(maxsize=1024)
def _mechanism_of(disclosure: Disclosure) -> Disclosure:
    return with_count(disclosure, 1)


def is_unbounded(charges: Iterable[Disclosure]) -> bool:
    """Say whether any of them has no bound."""
    return any(isinstance(one, Unbounded) for one in charges)


class Tally:
    """Disclosures by mechanism, and how many of each."""

    def __init__(self, charges: Iterable[Disclosure] = ()) -> None:
        self._counts: dict[Disclosure, int] = {}
        for one in charges:
            self.add(one)

    def add(self, disclosure: Disclosure) -> None:
        """Count one more."""
        mechanism = _mechanism_of(disclosure)
        self._counts[mechanism] = self._counts.get(mechanism, 0) + count_of(disclosure)

    def left_after(self, spent: "Tally") -> Charges:
        """Give what of this tally `spent` has not used."""
        left = {
            mechanism: count - spent._counts.get(mechanism, 0)
            for mechanism, count in self._counts.items()
            if not isinstance(mechanism, Unbounded) or mechanism not in spent._counts
        }
        return _in_order({mechanism: count for mechanism, count in left.items() if count > 0})

    def num_left(self, disclosure: Disclosure, spent: "Tally") -> int | None:
        """Give how many more of `disclosure`'s mechanism there are; None for any number."""
        mechanism = _mechanism_of(disclosure)
        held = self._counts.get(mechanism, 0)
        if isinstance(mechanism, Unbounded) and held:
            return None
        return held - spent._counts.get(mechanism, 0)

    def charges(self) -> Charges:
        """Give each mechanism once, with its count, in an order that depends on nothing else."""
        return _in_order(self._counts)


def merged(charges: Iterable[Disclosure]) -> Charges:
    """Give each mechanism once, with its whole count."""
    return Tally(charges).charges()


def _in_order(counts: dict[Disclosure, int]) -> Charges:
    return tuple(with_count(one, counts[one]) for one in sorted(counts, key=repr))
