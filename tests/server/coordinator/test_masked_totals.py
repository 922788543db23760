"""Masked vectors are added whole or not at all, and what a crash must not lose is read again."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.secagg_federation import Federation, make_federation
from tests.tiny_federation import tiny_job

from fedward_common.errors import MalformedMessageError
from fedward_common.round_vault import RoundVault
from fedward_common.secagg.layout import ContributionLayout, training_layout
from fedward_server.coordinator.masked_totals import AttemptFiles, MaskedTotals

NUM_WORDS = 7
BITS = {"32 bits": 32, "24 bits": 24}


def layout_of(bits: int = 32) -> ContributionLayout:
    job = tiny_job(overrides=["secure_aggregation.enabled=true", f"secure_aggregation.bits={bits}"])
    return training_layout(job, 4, NUM_WORDS, evaluates=False)


@pytest.mark.parametrize("bits", BITS.values(), ids=BITS)
def test_the_total_is_the_sum_in_the_ring(bits: int) -> None:
    layout = layout_of(bits)
    totals, draw = MaskedTotals.empty(layout), np.random.default_rng(0)
    wanted = np.zeros(NUM_WORDS, dtype=np.uint64)
    for _ in range(3):
        packed = draw.integers(0, 256, NUM_WORDS * bits // 8).astype(np.uint8)
        padded = np.zeros((NUM_WORDS, 4), dtype=np.uint8)
        padded[:, : bits // 8] = packed.reshape(NUM_WORDS, bits // 8)
        wanted += padded.view(np.uint32)[:, 0]
        lane = draw.integers(-(2**62), 2**62, layout.lane.length)
        totals.add({"masked": packed, "lane": lane}, layout)
    np.testing.assert_array_equal(totals.words, wanted % 2**bits)


@pytest.mark.parametrize("spoiled", ["short words", "other words", "short lane", "other lane"])
def test_a_vector_of_another_form_adds_nothing(spoiled: str) -> None:
    layout = layout_of()
    totals = MaskedTotals.empty(layout)
    arrays: dict[str, Any] = {
        "masked": np.ones(4 * NUM_WORDS, dtype=np.uint8),
        "lane": np.ones(layout.lane.length, dtype=np.int64),
    }
    kind, name = spoiled.split()
    key = "masked" if name == "words" else "lane"
    other = np.uint8 if name == "lane" else np.float32
    arrays[key] = arrays[key][:-1] if kind == "short" else arrays[key].astype(other)
    with pytest.raises(MalformedMessageError):
        totals.add(arrays, layout)
    assert not totals.words.any()
    assert not totals.lane.any()


# -- the files -------------------------------------------------------------------------------------


@pytest.fixture
def masked() -> Federation:
    """An attempt whose survivors are fixed."""
    layout = layout_of()
    federation = make_federation(4, num_words=NUM_WORDS, num_lane=layout.lane.length)
    federation.begin()
    federation.share()
    federation.mask()
    return federation


@pytest.fixture
def files(tmp_path: Path) -> AttemptFiles:
    return AttemptFiles(RoundVault(tmp_path / "secure-train"))


def keep(files: AttemptFiles, federation: Federation) -> MaskedTotals:
    words, lane = federation.masked_totals()
    totals = MaskedTotals(words, lane)
    files.keep_totals(federation.binding, totals)
    files.keep_state(federation.attempt)
    return totals


def test_what_was_kept_is_read_again(files: AttemptFiles, masked: Federation) -> None:
    totals = keep(files, masked)
    found = files.load(masked.binding, masked.coordinator_rules, layout_of())
    assert found is not None
    state, again = found
    assert state.survivors == masked.attempt.survivors
    np.testing.assert_array_equal(again.words, totals.words)
    np.testing.assert_array_equal(again.lane, totals.lane)
    again.words += np.uint32(1)  # they are the caller's own


def test_another_attempt_finds_nothing(files: AttemptFiles, masked: Federation) -> None:
    keep(files, masked)
    later = dataclasses.replace(masked.binding, attempt=9)
    assert files.load(later, masked.coordinator_rules, layout_of()) is None


def test_totals_of_another_attempt_are_not_taken_for_those_of_this_one(
    files: AttemptFiles, masked: Federation
) -> None:
    """A crash came between the totals of the next attempt and its state."""
    totals = keep(files, masked)
    files.keep_totals(dataclasses.replace(masked.binding, attempt=9), totals)
    assert files.load(masked.binding, masked.coordinator_rules, layout_of()) is None


def test_without_files_or_without_the_key_there_is_nothing(
    files: AttemptFiles, masked: Federation
) -> None:
    assert files.load(masked.binding, masked.coordinator_rules, layout_of()) is None
    keep(files, masked)
    (files.vault.folder / "round.key").unlink()
    assert files.load(masked.binding, masked.coordinator_rules, layout_of()) is None


@pytest.mark.parametrize("name", ["attempt.sealed", "totals.sealed", "round.key"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_a_damaged_file_is_as_good_as_none(
    files: AttemptFiles, masked: Federation, name: str, damage: str
) -> None:
    keep(files, masked)
    path = files.vault.folder / name
    content = path.read_bytes()
    spoiled = {"flipped": content[:-1] + bytes([content[-1] ^ 1]), "cut": content[:-1]}
    path.write_bytes(spoiled.get(damage, b""))
    assert files.load(masked.binding, masked.coordinator_rules, layout_of()) is None
    files.forget()
    keep(files, masked)
    assert files.load(masked.binding, masked.coordinator_rules, layout_of()) is not None


def test_what_is_forgotten_is_gone_and_forgetting_twice_is_no_error(
    files: AttemptFiles, masked: Federation
) -> None:
    keep(files, masked)
    files.forget()
    files.forget()
    assert not files.vault.folder.exists()
