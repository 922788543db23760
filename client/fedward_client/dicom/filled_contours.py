"""Closed contours to pixels: a pixel is inside where its centre is, by the even-odd rule.

So a contour within a contour is a hole, and areas are right on average: nothing is drawn along the
line itself, which would make every structure half a pixel thicker.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def filled(contours: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Find the pixels whose centres an odd number of contours go round.

    Args:
        contours: Each of shape (points, 2): row and column, pixel centres at whole numbers; the
            last point is joined to the first. Parts beyond the image are cut off.
        shape: Rows, columns.

    Returns:
        Shape `shape`. Of two areas that share an edge through pixel centres, one gets them.
    """
    num_rows, num_columns = shape
    # how often the line is crossed just before each column
    crossed = np.zeros((num_rows, num_columns + 1), dtype=np.int32)
    for contour in contours:
        rows, columns = _crossings(contour, num_rows)
        first = np.clip(np.ceil(columns), 0, num_columns).astype(np.int64)
        np.add.at(crossed, (rows, first), 1)
    inside: NDArray[np.bool_] = np.cumsum(crossed[:, :num_columns], axis=1) % 2 == 1
    return inside


def _crossings(
    contour: NDArray[np.float64], num_rows: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where the lines through the centres of rows meet the contour: row, and column."""
    start, end = contour, np.roll(contour, -1, axis=0)
    low = np.minimum(start[:, 0], end[:, 0])
    high = np.maximum(start[:, 0], end[:, 0])
    # half open, low <= row < high: a corner on a row counts for one of its two edges
    first = np.clip(np.ceil(low), 0, num_rows).astype(np.int64)
    after_last = np.clip(np.ceil(high), 0, num_rows).astype(np.int64)
    counts = np.maximum(after_last - first, 0)
    edge = np.repeat(np.arange(len(contour)), counts)
    begins = np.cumsum(counts) - counts
    rows = first[edge] + np.arange(len(edge)) - begins[edge]
    share = (rows - start[edge, 0]) / (end[edge, 0] - start[edge, 0])
    columns = start[edge, 1] + share * (end[edge, 1] - start[edge, 1])
    return rows, columns
