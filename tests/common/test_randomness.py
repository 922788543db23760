import hashlib

from hypothesis import given
from hypothesis import strategies as st

from fedward_common.randomness import derive_seed

labels = st.lists(st.text("abc-019", min_size=1, max_size=4), max_size=4)


@given(seed=st.integers(-(2**70), 2**70), purpose=labels)
def test_a_seed_fits_63_bits_and_is_the_same_every_time(seed: int, purpose: list[str]) -> None:
    derived = derive_seed(seed, *purpose)
    assert 0 <= derived < 2**63
    assert derived == derive_seed(seed, *purpose)


@given(seed=st.integers(), one=labels, other=labels)
def test_no_two_purposes_share_a_seed(seed: int, one: list[str], other: list[str]) -> None:
    assert (derive_seed(seed, *one) == derive_seed(seed, *other)) == (one == other)


@given(one=st.integers(), other=st.integers())
def test_two_runs_share_no_seed(one: int, other: int) -> None:
    assert (derive_seed(one, "train") == derive_seed(other, "train")) == (one == other)


def test_a_seed_never_changes_between_versions() -> None:
    # Runs resumed by a later version must shuffle alike.
    digest = hashlib.sha256(b"fedward-seed-v1\x1f7\x1ftrain\x1falder\x1f3").digest()
    expected = int.from_bytes(digest[:8], "big") // 2
    assert derive_seed(7, "train", "alder", 3) == expected == derive_seed(7, "train", "alder", "3")


def test_labels_are_not_run_together() -> None:
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc") != derive_seed(1, "abc")
    assert derive_seed(11, "1") != derive_seed(1, "11")
