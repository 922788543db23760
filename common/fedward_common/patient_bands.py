"""Patient counts as bands, so that a weight or a message never gives a hospital's exact size.

Bands follow 1-2-5 steps: 1-9, 10-19, 20-49, 50-99, 100-199, ...
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PatientBand:
    """A range of patient counts, both ends included; 0 to 0 is a site that has none."""

    low: int
    high: int

    def __str__(self) -> str:
        return f"{self.low} to {self.high}"


def band_of(num_patients: int) -> PatientBand:
    """Give the band that holds a count."""
    if num_patients < 1:
        return PatientBand(0, 0)
    if num_patients < 10:
        return PatientBand(1, 9)
    low = 10 ** (len(str(num_patients)) - 1)
    for factor, upper in ((5, 10), (2, 5), (1, 2)):
        if num_patients >= factor * low:
            return PatientBand(factor * low, upper * low - 1)
    raise AssertionError("a count is at least its own power of ten")


def weight_of(band: PatientBand, cap_patients: int) -> float:
    """Aggregation weight in (0, 1]: `min(band, W) / W` with W = `cap_patients`."""
    return min(max(band.low, 1), cap_patients) / cap_patients
