"""How often somebody may ask to join: a little at once, and then slowly.

Anybody can reach the public listener, and each request to join costs signatures and a look into
the office. So what one address, and all together, may ask is bounded.
"""

from collections import OrderedDict
from dataclasses import dataclass

from fedward_common.clock import Clock

_MAX_ADDRESSES = 4096


@dataclass(frozen=True)
class Allowance:
    """So many requests at once, and after that so many a second."""

    at_once: float
    each_second: float


@dataclass
class _Bucket:
    left: float
    as_of: float


class RequestRate:
    """Counts requests.

    Args:
        clock: Counts the seconds.
        of_one: What one address may ask.
        of_all: What all addresses together may ask.
    """

    def __init__(
        self,
        clock: Clock,
        of_one: Allowance = Allowance(20, 1),
        of_all: Allowance = Allowance(200, 20),
    ) -> None:
        self._clock = clock
        self._of_one = of_one
        self._of_all = of_all
        self._all = _Bucket(of_all.at_once, clock.now_seconds())
        self._each: OrderedDict[str, _Bucket] = OrderedDict()

    def admits(self, address: str) -> bool:
        """Say whether this address may ask now, and count it if so."""
        now = self._clock.now_seconds()
        one = self._each.setdefault(address, _Bucket(self._of_one.at_once, now))
        self._each.move_to_end(address)
        if len(self._each) > _MAX_ADDRESSES:  # who asked longest ago begins anew
            self._each.popitem(last=False)
        _fill(one, self._of_one, now)
        _fill(self._all, self._of_all, now)
        if one.left < 1 or self._all.left < 1:
            return False
        one.left -= 1
        self._all.left -= 1
        return True


def _fill(bucket: _Bucket, allowance: Allowance, now: float) -> None:
    grown = bucket.left + allowance.each_second * (now - bucket.as_of)
    bucket.left, bucket.as_of = min(allowance.at_once, grown), now
