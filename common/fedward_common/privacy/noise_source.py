"""Where all privacy noise and all sampling of patients come from: AES-256 in counter mode.

Rules:
- Noise that protects somebody has its keys from the operating system alone. No seed, job, option
  or clock can set them (`OsKeyedNoise`). Each request has a key of its own, which is forgotten
  with the request: no copy of the object, no fork and no second thread can repeat a stream, and
  noise that was added cannot be computed again from the memory of the process.
- A simulation that must repeat itself has `SeededNoise`, which says `is_private` is False.
- `torch.Generator` is used for neither: on a CPU it keeps 32 bits of its seed.

Why a value is the sum of four draws, divided by two: one draw in floating point has gaps, and
whoever sees a noisy value can search for the uniform numbers that made it, and so for the value
beneath (Mironov 2012, doi:10.1145/2382196.2382264). With p bits in a uniform number and 2 n draws
in a value, the search takes 2**(p (2 n - 1)) steps: 2**159 for four draws, as Opacus does in its
`secure_mode`. Source: Holohan and Braghin 2021, section 5.1, arXiv:2107.10138. This makes the
attack dear; it is no proof that floating point keeps the guarantee of real numbers.
"""

import builtins
import json
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from hashlib import sha256
from typing import NoReturn, Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from fedward_common.errors import PrivacyError
from fedward_common.privacy.normal_transform import box_muller, num_bytes_for, uniform_53_bits

_BLOCK_VALUES = 1 << 15  # 192 KiB of key stream and as much again of numbers fit a core's cache
_BLOCK_BYTES = 1 << 20
_ZEROS = memoryview(builtins.bytes(_BLOCK_BYTES))


class NoiseSource(Protocol):
    """Gives independent random values; each value is given once."""

    @property
    def is_private(self) -> bool:
        """Whether nobody can repeat the stream. Reports of a run say so."""

    def normal(self, num_values: int) -> NDArray[np.float32]:
        """Give standard normal values, shape (num_values,)."""

    def normal_into(self, out: NDArray[np.float32]) -> None:
        """Overwrite a contiguous array of any shape with standard normal values."""

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        """Add normal noise to a contiguous array of any shape, in place.

        This is how a sum is made private. Noise and value are added in float64 and rounded once.
        Adding float32 noise to float32 values shows the low bits of a value wherever the two
        nearly cancel, because the noise is coarser than the result there (Mironov 2012).
        """

    def uniform(self, num_values: int) -> NDArray[np.float64]:
        """Give multiples of 2**-53 in [0, 1), each equally likely, shape (num_values,)."""

    def bytes(self, num_bytes: int) -> builtins.bytes:
        """Give uniform bytes."""


def poisson_sample(
    noise: NoiseSource, num_patients: int, sampling_rate: float
) -> NDArray[np.int64]:
    """Draw patients for one step, each independently with the same probability.

    This is the sampling that the accountant reckons with. A batch of fixed size, or a shuffled
    order, is another mechanism with a larger epsilon.

    Returns:
        Positions in ascending order, each at most once; possibly none. Every patient uses one
        random value whether drawn or not.

    Raises:
        PrivacyError: The rate is not in (0, 1], or there is nobody to draw from.
    """
    if not 0.0 < sampling_rate <= 1.0 or num_patients < 1:
        raise PrivacyError(
            f"sampling rate {sampling_rate} of {num_patients} patients: a rate above 0, of 1 at "
            "most, and a patient are needed",
            hint="the rate is the batch size divided by the number of training patients",
            code="INVALID_SAMPLING",
        )
    return np.flatnonzero(noise.uniform(num_patients) < sampling_rate).astype(np.int64, copy=False)


class KeyStream:
    """AES-256 in counter mode under one key, read from its start. Used for one key alone."""

    def __init__(self, key: builtins.bytes) -> None:
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(builtins.bytes(16))).encryptor()

    def __repr__(self) -> str:
        return "KeyStream(hidden)"

    def take(self, num_bytes: int) -> NDArray[np.uint8]:
        """Give the next bytes of the stream."""
        taken = np.empty(num_bytes, dtype=np.uint8)
        for start in range(0, num_bytes, _BLOCK_BYTES):
            part = taken[start : start + _BLOCK_BYTES]
            self._encryptor.update_into(_ZEROS[: part.size], part.data)
        return taken


class KeyStreamNoise(ABC):
    """What the two sources share: how a key stream becomes numbers.

    Args:
        draws: Normal draws that are added for one value; 4 unless speed is measured.

    Noise of any size is made in blocks, so it needs about 1 MB beside the result.
    """

    def __init__(self, *, draws: int = 4) -> None:
        if draws < 1:
            raise PrivacyError(
                f"a normal value of {draws} draws: at least 1 is needed", code="INVALID_NOISE"
            )
        self._draws = draws

    @abstractmethod
    def _stream(self) -> KeyStream:
        """Give the stream that one request reads."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(draws={self._draws}, hidden)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        # copy, deepcopy and pickle all come here: a copy would give the same values twice.
        raise PrivacyError(
            f"{type(self).__name__} is neither copied nor pickled",
            hint="make a new source in the process that needs one",
            code="NOISE_NOT_COPIED",
        )

    def normal(self, num_values: int) -> NDArray[np.float32]:
        """Give standard normal values, shape (num_values,)."""
        values = np.empty(num_values, dtype=np.float32)
        self.normal_into(values)
        return values

    def normal_into(self, out: NDArray[np.float32]) -> None:
        """Overwrite a contiguous array of any shape with standard normal values."""
        stream = self._stream()
        for part in _blocks_of(out):
            part[...] = self._normal_block(stream, part.size)

    def add_normal_to(self, values: NDArray[np.float32], standard_deviation: float) -> None:
        """Add normal noise to a contiguous array of any shape, in place; one rounding."""
        if not (math.isfinite(standard_deviation) and standard_deviation > 0.0):
            raise PrivacyError(
                f"noise of standard deviation {standard_deviation}: a positive number is needed",
                code="INVALID_NOISE",
            )
        stream = self._stream()
        for part in _blocks_of(values):
            noisy = self._normal_block(stream, part.size)
            noisy *= standard_deviation
            noisy += part
            part[...] = noisy

    def uniform(self, num_values: int) -> NDArray[np.float64]:
        """Give multiples of 2**-53 in [0, 1), each equally likely, shape (num_values,)."""
        return uniform_53_bits(self._stream().take(8 * num_values))

    def bytes(self, num_bytes: int) -> builtins.bytes:
        """Give uniform bytes."""
        return self._stream().take(num_bytes).tobytes()

    def _normal_block(self, stream: KeyStream, num_values: int) -> NDArray[np.float64]:
        num_bytes = num_bytes_for(num_values)
        total = box_muller(stream.take(num_bytes))
        for _ in range(1, self._draws):
            total += box_muller(stream.take(num_bytes))
        total *= 1.0 / math.sqrt(self._draws)
        return total[:num_values]


class OsKeyedNoise(KeyStreamNoise):
    """Noise that protects: a fresh 256-bit key from the operating system for each request."""

    @property
    def is_private(self) -> bool:
        """True: only the operating system knows the keys, and only until a request ends."""
        return True

    def _stream(self) -> KeyStream:
        return KeyStream(os.urandom(32))


class SeededNoise(KeyStreamNoise):
    """Noise that a simulation can repeat, and that therefore protects nobody.

    Args:
        seed: Any whole number, used in full.
        labels: What the noise is for; other labels, another stream. 1 and "1" differ.
        draws: Normal draws that are added for one value.

    Values follow from seed, labels, the requests made before, and numpy's version and processor.
    """

    def __init__(self, seed: int, *labels: str | int, draws: int = 4) -> None:
        super().__init__(draws=draws)
        # JSON keeps numbers and texts, and where one label ends, apart.
        name = json.dumps(["fedward-noise-v1", seed, *labels])
        self._only_stream = KeyStream(sha256(name.encode()).digest())

    @property
    def is_private(self) -> bool:
        """False: whoever knows the seed knows the noise."""
        return False

    def _stream(self) -> KeyStream:
        return self._only_stream


def _blocks_of(values: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """Go through the array itself, never through a copy that the noise would be lost with."""
    if values.dtype != np.float32 or not values.flags.c_contiguous or not values.flags.writeable:
        raise PrivacyError(
            f"noise into {values.dtype}: a writable contiguous array of float32 is needed",
            hint="give the array itself, not a transposed or strided view of it",
            code="INVALID_NOISE",
        )
    flat = values.reshape(-1)
    for start in range(0, flat.size, _BLOCK_VALUES):
        yield flat[start : start + _BLOCK_VALUES]
