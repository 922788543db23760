"""What a decoder gives: one array and what is known of it, as JSON values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class Decoded:
    """One image, volume or mask.

    Args:
        array: Real numbers.
        facts: JSON values; no identifiers, no free text.
    """

    array: NDArray[Any]
    facts: Mapping[str, Any]
