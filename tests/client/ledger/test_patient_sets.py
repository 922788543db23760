from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.ledger.ledgers import patients

from fedward_client.ledger.patient_sets import PatientSets, patient_set_of
from fedward_common.errors import LedgerDamagedError, PrivacyError

numbers = st.lists(st.integers(0, 60), max_size=30)


@given(first=numbers, second=numbers)
@settings(max_examples=100, deadline=None)
def test_membership_is_that_of_sets(first: list[int], second: list[int]) -> None:
    """Patients 0, 7, 14 ... have the same first eight bytes."""
    one, other = patient_set_of(patients(first)), patient_set_of(patients(second))
    wanted = [row.tobytes() in {r.tobytes() for r in one.rows} for row in other.rows]
    assert one.members_among(other).tolist() == wanted


@given(chosen=numbers)
@settings(max_examples=50, deadline=None)
def test_a_set_does_not_depend_on_order_or_repetition(chosen: list[int]) -> None:
    one = patient_set_of(patients(chosen))
    other = patient_set_of(patients([*reversed(chosen), *chosen]))
    assert one.sha256 == other.sha256
    assert [row.tobytes() for row in one.rows] == sorted(
        {row.tobytes() for row in patients(chosen)}
    )


def test_random_pseudonyms_with_zeros_and_high_bytes_are_kept_apart() -> None:
    rows = np.random.default_rng(7).integers(0, 2, (500, 16)).astype(np.uint8) * 255
    found = patient_set_of(rows)
    assert len(found) == len({row.tobytes() for row in rows})
    assert found.members_among(found).all()


@pytest.mark.parametrize(
    "rows",
    [np.zeros((3, 15), np.uint8), np.zeros(16, np.uint8), np.zeros((3, 16), np.int64)],
    ids=["width", "flat", "type"],
)
def test_what_is_no_set_of_pseudonyms_is_refused_by_name(rows: np.ndarray) -> None:
    with pytest.raises(PrivacyError) as caught:
        patient_set_of(rows)
    assert caught.value.code == "INVALID_PATIENTS"


def test_a_set_comes_back_from_its_file_which_only_the_owner_reads(tmp_path: Path) -> None:
    kept = patient_set_of(patients(range(10)))
    PatientSets(tmp_path).keep(kept)
    path = tmp_path / f"{kept.sha256}.npy"
    assert path.stat().st_mode & 0o777 == 0o600
    sets = PatientSets(tmp_path)
    sets.require_there(kept.sha256, 10)
    assert sets.read(kept.sha256).rows.tolist() == kept.rows.tolist()


@pytest.mark.parametrize("count", [0, 1, 9, 10, 99, 1000, 123_456])
def test_the_size_of_a_file_follows_from_the_number_of_patients(tmp_path: Path, count: int) -> None:
    kept = patient_set_of(patients(range(count)))
    sets = PatientSets(tmp_path)
    sets.keep(kept)
    sets.require_there(kept.sha256, count)
    with pytest.raises(LedgerDamagedError, match="size"):
        sets.require_there(kept.sha256, count + 1)


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("change", [flipped, lambda c: c[:-16], lambda c: b"", lambda c: c + c])
def test_an_edited_set_is_damage(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    kept = patient_set_of(patients(range(10)))
    PatientSets(tmp_path).keep(kept)
    path = tmp_path / f"{kept.sha256}.npy"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LedgerDamagedError, match="was changed") as caught:
        PatientSets(tmp_path).read(kept.sha256)
    assert "override" in caught.value.hint


def test_a_missing_set_is_damage(tmp_path: Path) -> None:
    for act in (PatientSets(tmp_path).read, lambda s: PatientSets(tmp_path).require_there(s, 1)):
        with pytest.raises(LedgerDamagedError, match="is missing"):
            act("0" * 64)


def test_an_edited_set_is_written_again_when_it_is_given_again(tmp_path: Path) -> None:
    kept = patient_set_of(patients(range(10)))
    PatientSets(tmp_path).keep(kept)
    path = tmp_path / f"{kept.sha256}.npy"
    path.write_bytes(b"x")
    PatientSets(tmp_path).keep(kept)
    assert path.read_bytes() == kept.content
