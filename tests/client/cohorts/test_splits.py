from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedward_client.cohorts.source import Case
from fedward_client.cohorts.splits import in_two_splits, split_of_patient, with_split
from fedward_common.job.job_file import SplitFractions

KEY = b"k" * 32
fractions = (
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
    .filter(any)
    .map(
        lambda t: (
            SplitFractions(t[0] / sum(t), t[1] / sum(t), 1 - t[0] / sum(t) - t[1] / sum(t))
            if t[2]
            else SplitFractions(t[0] / sum(t), 1 - t[0] / sum(t), 0.0)
        )
    )
)


@given(patient=st.text(), key=st.binary(min_size=1, max_size=64), shares=fractions)
def test_the_same_patient_always_falls_into_the_same_split(
    patient: str, key: bytes, shares: SplitFractions
) -> None:
    first = split_of_patient(patient, key, shares)
    assert split_of_patient(patient, key, shares) == first
    assert getattr(shares, first) > 0


@settings(max_examples=10, deadline=None)
@given(shares=fractions, key=st.binary(min_size=16, max_size=32))
def test_the_shares_converge_to_the_fractions(shares: SplitFractions, key: bytes) -> None:
    counts = Counter(split_of_patient(f"patient {n}", key, shares) for n in range(4000))
    for name in ("train", "validation", "test"):
        assert counts[name] / 4000 == pytest.approx(getattr(shares, name), abs=0.05)  # > 6 sigma


def test_nobody_moves_from_train_when_the_train_share_grows() -> None:
    few, many = SplitFractions(0.5, 0.25, 0.25), SplitFractions(0.7, 0.15, 0.15)
    for n in range(200):
        if split_of_patient(str(n), KEY, few) == "train":
            assert split_of_patient(str(n), KEY, many) == "train"


def test_another_key_gives_another_split() -> None:
    one = [split_of_patient(str(n), KEY, SplitFractions()) for n in range(100)]
    other = [split_of_patient(str(n), b"other", SplitFractions()) for n in range(100)]
    assert one != other


def test_the_manifests_split_comes_before_the_hash() -> None:
    case = Case("p", 0, "test", "i", None, 2)
    assert with_split(case, KEY, SplitFractions(1.0, 0.0, 0.0)) == (case, "test")
    undecided = Case("p", 0, None, "i", None, 2)
    assert with_split(undecided, KEY, SplitFractions(1.0, 0.0, 0.0))[1] == "train"


def test_a_patient_in_two_splits_is_found() -> None:
    assert in_two_splits([("a", "train"), ("b", "test"), ("a", "test"), ("b", "test")]) == {"a"}
