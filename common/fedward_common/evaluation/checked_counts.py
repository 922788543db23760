"""The limits of evaluation sums, and the checks that refuse what lies outside of them.

The limits hold together: MAX_CASES losses of MAX_LOSS in units of 1/FIXED_POINT_ONE stay below
2^63, and so does the sum of two such sums, which a merge makes before it is checked.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import MalformedMessageError

Counts = NDArray[np.int64]

NUM_SCORE_BINS = 1024
SCORE_LIMIT = 12.0
FIXED_POINT_ONE = 2**32
MAX_LOSS = 64.0
MAX_CASES = 10_000_000


def require(condition: bool, message: str) -> None:
    """Refuse sums of which `condition` does not hold, with a `MalformedMessageError`."""
    if not condition:
        raise MalformedMessageError(
            f"evaluation sums: {message}", hint="the sender's sums contradict themselves; ask it"
        )


def require_counts(array: Counts, shape: tuple[int, ...], name: str) -> None:
    """Refuse an array of another shape, or with a number that is no count of cases."""
    require(array.shape == shape, f"{name} has shape {array.shape}, {shape} needed")
    inside = array.size == 0 or (array.min() >= 0 and array.max() <= MAX_CASES)
    require(bool(inside), f"{name} has a count outside 0 to {MAX_CASES}")


def require_fixed_sum(total: int, count: int, limit: float, name: str) -> None:
    """Refuse a fixed-point sum that `count` values from 0 to `limit` cannot have."""
    most = count * int(limit * FIXED_POINT_ONE)
    require(0 <= total <= most, f"{name} is {total}, 0 to {most} possible with {count} cases")


def own_array(instance: object, name: str) -> None:
    """Replace an array field of a frozen dataclass by a read-only copy of its own."""
    array = np.array(getattr(instance, name), dtype=np.int64)
    array.setflags(write=False)
    object.__setattr__(instance, name, array)


def split_vector(vector: NDArray[Any], sizes: tuple[int, ...]) -> list[Counts]:
    """Cut an int64 vector of exactly the length wanted into parts of these sizes."""
    require(
        vector.dtype == np.int64 and vector.shape == (sum(sizes),),
        f"a vector of {vector.dtype} {vector.shape} came, int64 ({sum(sizes)},) needed",
    )
    return np.split(vector, np.cumsum(sizes)[:-1])
