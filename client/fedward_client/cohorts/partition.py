"""One part of a cohort that a simulation cuts into hospitals of its own.

For research on how sites differ. Each class is shared out by proportions of its own, drawn from a
Dirichlet distribution (Hsu et al. 2019, arXiv:1909.06335, section 3): a small alpha gives each site
few classes, a large one makes sites alike. A patient's part follows from a keyed hash, so it is the
same in every process, and all images of a patient lie at one site.
"""

import bisect
import functools
from dataclasses import dataclass

from fedward_client.cohorts.source import Label
from fedward_common.errors import ConfigurationError
from fedward_common.randomness import derive_seed


@dataclass(frozen=True)
class PartitionSection:
    """`partition`: which part of the patients this site has.

    Args:
        site: Number of the part, from 0.
        num_sites: How many parts there are.
        alpha: Concentration of the Dirichlet distribution, above 0.
        seed: Of the proportions.
    """

    site: int
    num_sites: int
    alpha: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.site < self.num_sites <= 10_000:
            raise ConfigurationError(
                f"partition.site is {self.site} of {self.num_sites}", hint="parts count from 0"
            )
        if not 0 < self.alpha <= 1e6:
            raise ConfigurationError(
                f"partition.alpha is {self.alpha}", hint="above 0, at most 1000000"
            )


def part_of_patient(unit_key: bytes, label: Label, section: PartitionSection) -> int:
    """Give the number of the part a patient belongs to.

    Args:
        unit_key: Keyed hash of the patient, at least 16 bytes; its last 8 decide.
        label: Class of the patient, in a multi-label task its combination of findings; None where
            masks are the labels, so only sizes differ.
        section: The partition; its `site` plays no part.
    """
    bounds = _bounds(label, section.num_sites, section.alpha, section.seed)
    position = int.from_bytes(unit_key[-8:], "big") / 2**64
    return min(bisect.bisect_right(bounds, position), section.num_sites - 1)


@functools.lru_cache(maxsize=1024)
def _bounds(label: Label, num_sites: int, alpha: float, seed: int) -> list[float]:
    import numpy as np

    generator = np.random.default_rng(derive_seed(seed, "partition", str(label)))
    bounds: list[float] = np.cumsum(generator.dirichlet(np.full(num_sites, alpha))).tolist()
    return bounds
