import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward_client.cohorts.partition import PartitionSection, part_of_patient
from fedward_common.errors import ConfigurationError

alphas = st.floats(min_value=0.01, max_value=1000)


def patients(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@given(
    unit_key=st.binary(min_size=16, max_size=32),
    label=st.none() | st.integers(0, 10),
    num_sites=st.integers(1, 50),
    alpha=alphas,
    seed=st.integers(0, 2**31),
)
def test_every_patient_lies_at_exactly_one_site(
    unit_key: bytes, label: int | None, num_sites: int, alpha: float, seed: int
) -> None:
    parts = {
        part_of_patient(unit_key, label, PartitionSection(site, num_sites, alpha, seed))
        for site in range(num_sites)
    }
    assert len(parts) == 1
    assert 0 <= parts.pop() < num_sites


def test_a_large_alpha_makes_sites_alike_and_a_small_one_does_not() -> None:
    def largest_share(alpha: float) -> float:
        section = PartitionSection(0, 5, alpha)
        parts = [part_of_patient(patient, 1, section) for patient in patients(2000)]
        return float(np.bincount(parts, minlength=5).max() / 2000)

    assert largest_share(1e5) < 0.25
    assert largest_share(0.05) > 0.5


def test_each_class_has_proportions_of_its_own() -> None:
    section = PartitionSection(0, 4, 0.3)
    shares = [
        np.bincount([part_of_patient(p, label, section) for p in patients(1000)], minlength=4)
        for label in (0, 1)
    ]
    assert np.abs(shares[0] - shares[1]).max() > 100


@pytest.mark.parametrize(
    ("site", "num_sites", "alpha"), [(3, 3, 1.0), (-1, 3, 1.0), (0, 0, 1.0), (0, 3, 0.0)]
)
def test_an_impossible_part_is_refused(site: int, num_sites: int, alpha: float) -> None:
    with pytest.raises(ConfigurationError, match="partition"):
        PartitionSection(site, num_sites, alpha)
