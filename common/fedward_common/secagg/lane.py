"""The lane beside the vectors: a few exact whole numbers of each site, added modulo 2**64.

Rules:
- Every field has a bound for one site, and the bounds of all sites together stay below 2**63. So
  no sum of honest lanes wraps around, and a sum beyond the bound was not made of honest lanes.
- The first number is the counter: each site sends 1. It must decode to the number of sites in the
  sum, so a sum that is unmasked wrongly, or is of others than were named, is found.

A site that lies stays free to lie within its bounds, or to make the others' sum useless.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedward_common.errors import AggregationRefusedError, ConfigurationError, WeightsMismatchError
from fedward_common.secagg import refusal_codes
from fedward_common.wire.canonical_cbor import encode_canonically

COUNTER = "counter"


@dataclass(frozen=True)
class LaneField:
    """Whole numbers of one name.

    Attributes:
        name: Anything but "counter".
        length: How many numbers.
        most: The largest that one site may send; at least 1.
        signed: Whether numbers go down to -most; else to 0.
    """

    name: str
    length: int
    most: int
    signed: bool = False

    def __post_init__(self) -> None:
        if not self.name or self.length < 1 or self.most < 1:
            raise ConfigurationError(
                f"a lane field {self.name!r} of {self.length} numbers up to {self.most}: a name, "
                "a number and a bound of 1 or more are needed"
            )

    @property
    def least(self) -> int:
        """The smallest number that one site may send."""
        return -self.most if self.signed else 0


@dataclass(frozen=True)
class LaneLayout:
    """The fields of a lane, after the counter.

    Attributes:
        fields: In the order of the lane.
        max_sites: No sum may have more sites.

    Raises:
        ConfigurationError: A name twice, or a field that all sites together could overflow.
    """

    fields: tuple[LaneField, ...]
    max_sites: int

    def __post_init__(self) -> None:
        names = [COUNTER, *(field.name for field in self.fields)]
        if len(set(names)) < len(names) or self.max_sites < 1:
            raise ConfigurationError(
                f"a lane for {self.max_sites} sites with the fields {names}: at least 1 site is "
                "needed, and each name once"
            )
        for field in self.fields:
            if self.max_sites * field.most >= 2**63:
                raise ConfigurationError(
                    f"the lane field {field.name!r} goes up to {field.most} for each of "
                    f"{self.max_sites} sites: their sum must stay below 2**63",
                    hint="take fewer sites or a smaller bound",
                )

    @property
    def length(self) -> int:
        """Numbers of a lane, the counter among them."""
        return 1 + sum(field.length for field in self.fields)

    def descriptor(self) -> bytes:
        """Give canonical bytes of everything that the lane depends on."""
        fields = [[f.name, f.length, f.most, f.signed] for f in self.fields]
        return encode_canonically({"lane": "v1", "max_sites": self.max_sites, "fields": fields})

    def encode(self, values: Mapping[str, NDArray[np.int64]]) -> NDArray[np.uint64]:
        """Put one site's numbers one after the other, behind the counter.

        Args:
            values: An int64 vector for each field, as long as the field says.

        Returns:
            Shape (length,), made for the caller, who may mask it in place.

        Raises:
            WeightsMismatchError: Another set of fields, or one of another length or type.
            AggregationRefusedError: `SECAGG_LANE_BOUND`: a number is outside its bounds.
        """
        if set(values) != {field.name for field in self.fields}:
            raise WeightsMismatchError(
                f"lane fields {sorted(values)} came, {[f.name for f in self.fields]} are needed"
            )
        lane = np.empty(self.length, dtype=np.uint64)
        lane[0] = 1
        for field, place in self._places():
            numbers = values[field.name]
            _require_vector(field.name, numbers, np.dtype(np.int64), field.length)
            _require_bounds(field, numbers, num_sites=1)
            lane[place] = numbers.view(np.uint64)
        return lane

    def decode(self, total: NDArray[np.uint64], *, num_sites: int) -> dict[str, NDArray[np.int64]]:
        """Turn the unmasked sum of lanes into the sums of the fields.

        Args:
            total: Shape (length,).
            num_sites: Sites in the sum.

        Returns:
            A new int64 vector for each field, without the counter.

        Raises:
            WeightsMismatchError: A total of another shape or type.
            AggregationRefusedError: `SECAGG_TOO_MANY_SITES`; `SECAGG_COUNTER`: the counter is not
                the number of sites; `SECAGG_LANE_BOUND`: a sum is beyond what they may send.
        """
        _require_vector("lane", total, np.dtype(np.uint64), self.length)
        if num_sites > self.max_sites:
            raise AggregationRefusedError(
                f"a sum of {num_sites} sites: the lane has room for {self.max_sites}",
                code=refusal_codes.TOO_MANY_SITES,
            )
        if int(total[0]) != num_sites:
            raise AggregationRefusedError(
                f"the lane does not count {num_sites} sites: masks were left in the sum, or it is "
                "of others than were named",
                hint="the sum is unusable; drop the round",
                code=refusal_codes.COUNTER,
            )
        sums = {}
        for field, place in self._places():
            numbers = total[place].view(np.int64)
            _require_bounds(field, numbers, num_sites=num_sites)
            sums[field.name] = numbers.copy()
        return sums

    def _places(self) -> Iterator[tuple[LaneField, slice]]:
        start = 1
        for field in self.fields:
            yield field, slice(start, start + field.length)
            start += field.length


def _require_vector(
    name: str,
    numbers: NDArray[np.int64] | NDArray[np.uint64],
    dtype: np.dtype[np.int64] | np.dtype[np.uint64],
    length: int,
) -> None:
    fits = numbers.dtype == dtype and numbers.shape == (length,)
    if not fits or not numbers.flags.c_contiguous:
        raise WeightsMismatchError(
            f"{name!r} is {numbers.dtype} of shape {numbers.shape}: one contiguous row of {dtype}, "
            f"shape ({length},), is needed"
        )


def _require_bounds(field: LaneField, numbers: NDArray[np.int64], *, num_sites: int) -> None:
    least, most = num_sites * field.least, num_sites * field.most
    if int(numbers.min()) < least or int(numbers.max()) > most:
        # The number itself stays out of the text: it may be of a hospital.
        raise AggregationRefusedError(
            f"the lane field {field.name!r} of {num_sites} sites: numbers from {least} to {most} "
            "are needed, another came",
            hint="the numbers of a site are outside what the job's layout foresees",
            code=refusal_codes.LANE_BOUND,
        )
