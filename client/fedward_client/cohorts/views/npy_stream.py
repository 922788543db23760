"""A .npy file written row by row, whose number of rows is known at the end.

Plain writes, no memory map: on a full disk they give an error, a memory map gives SIGBUS. Memory
holds one row.
"""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedward_common.atomic_files import write_all


class NpyStream:
    """Appends rows of one shape; `close` makes the file a valid .npy of that many rows.

    Args:
        path: A file that does not exist yet.
        row_shape: Shape of one row.
        dtype: Of the array.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self._num_rows = 0
        self._file = path.open("xb", buffering=0)
        self._write_header()
        self._header_bytes = self._file.tell()

    def reserve(self, num_rows: int) -> None:
        """Give the file the size that it may come to, so that others count it; `close` cuts it."""
        row_bytes = math.prod(self._row_shape) * self._dtype.itemsize
        self._file.truncate(self._header_bytes + num_rows * row_bytes)

    def append(self, row: NDArray[Any]) -> None:
        """Write one row.

        Raises:
            ValueError: It has another shape or dtype than the file.
            OSError: The disk is full, among others.
        """
        if row.shape != self._row_shape or row.dtype != self._dtype:
            raise ValueError(f"a row of {row.dtype}{row.shape}, not {self._dtype}{self._row_shape}")
        write_all(self._file.fileno(), np.ascontiguousarray(row).reshape(-1).data)
        self._num_rows += 1

    def close(self) -> None:
        """Write the final header and force everything to the disk."""
        with self._file:
            self._file.truncate()  # where the last row ended
            self._file.seek(0)
            self._write_header()
            # NumPy pads its header so that the first axis may grow
            if self._file.tell() != self._header_bytes:
                raise ValueError("the header changed its length")
            os.fsync(self._file.fileno())

    def abandon(self) -> None:
        """Close without finishing; the file is not usable."""
        self._file.close()

    def _write_header(self) -> None:
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                "shape": (self._num_rows, *self._row_shape),
                "fortran_order": False,
                "descr": np.lib.format.dtype_to_descr(self._dtype),
            },
        )
