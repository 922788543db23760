"""What a decoder gives: one array and what is known of it, as JSON values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from numpy.typing import NDArray


class InstanceName(NamedTuple):
    """Whose pixels were read: the two identifiers that a case is named by."""

    sop_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True)
class Decoded:
    """One image, volume or mask.

    Args:
        array: Real numbers.
        facts: JSON values; no identifiers, no free text.
        read_from: The images that were really read, of a mask those that it was brought onto; empty
            where the files are no DICOM. It is compared and then forgotten.
    """

    array: NDArray[Any]
    facts: Mapping[str, Any]
    read_from: tuple[InstanceName, ...] = field(default=(), repr=False)
