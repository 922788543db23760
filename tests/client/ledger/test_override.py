import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
from tests.client.ledger.crashing_disk import CrashingDisk, SimulatedCrash
from tests.client.ledger.ledgers import CAPS, StillClock, opened, place, reserve, steps

from fedward_client.ledger.charges import Charges
from fedward_client.ledger.override import Signatures, assumed_charges, override_ledger
from fedward_client.ledger.statement import statement_of
from fedward_common.errors import (
    ConfigurationError,
    LedgerDamagedError,
    LockedError,
    PrivacyError,
)
from fedward_common.privacy.accountant import PLD
from fedward_common.privacy.disclosures import Gaussian, Unbounded

SIGNED = Signatures("head of radiology", "data protection officer", "the disk was lost")
NO_BOUND: Charges = (Unbounded("an override without a number"),)
LENIENT: Charges = (Gaussian(0.1, 1),)  # 10 in the toy accounting


def damaged(home: Path) -> bytes:
    """A ledger of which the last line was edited."""
    with opened(home) as ledger:
        reserve(ledger)
        ledger.begin_round("run1", 1, 1, steps(1))
    entries = place(home).entries_file
    entries.write_bytes(entries.read_bytes().replace(b'"round":1', b'"round":2'))
    return entries.read_bytes()


def override(home: Path, assumed: Charges = NO_BOUND, clock: StillClock | None = None) -> None:
    number = None if assumed == NO_BOUND else 10.0
    override_ledger(place(home), clock or StillClock(), SIGNED, assumed, number)


def test_an_override_is_an_entry_and_the_old_ledger_is_put_aside(tmp_path: Path) -> None:
    old = damaged(tmp_path)
    override(tmp_path)
    assert (tmp_path / "ledger" / "damaged-1.jsonl").read_bytes() == old
    with opened(tmp_path) as ledger:
        ledger.verify()
        (entry,) = ledger.accounts.overrides
        assert (entry.first, entry.second, entry.reason) == dataclasses.astuple(SIGNED)
        assert entry.lost_sha256 == hashlib.sha256(old).hexdigest()
        assert "not the one that was written" in entry.found
        assert not ledger.has_reserved("run1")
    with opened(tmp_path) as ledger, pytest.raises(PrivacyError) as caught:
        ledger.begin_round("run1", 2, 1, steps(1))
    assert caught.value.code == "RUN_NOT_RESERVED"


def test_without_a_number_no_patient_of_the_site_has_anything_left(tmp_path: Path) -> None:
    damaged(tmp_path)
    override(tmp_path)
    with opened(tmp_path) as ledger:
        for run, numbers in (("run2", range(4)), ("run3", range(100, 110))):
            with pytest.raises(PrivacyError) as caught:
                reserve(ledger, run, numbers, steps(1))
            assert caught.value.code == "BUDGET_EXCEEDED"


def test_with_a_number_every_patient_has_spent_it(tmp_path: Path) -> None:
    damaged(tmp_path)
    override(tmp_path, LENIENT)
    with opened(tmp_path) as ledger:
        with pytest.raises(PrivacyError):
            reserve(ledger, "run2", planned=steps(91))
        reserve(ledger, "run2", planned=steps(90))
        statement = statement_of(ledger, CAPS)
    assert (statement.most_spent, statement.most_charged, statement.overrides) == (10, 100, 1)


def test_an_override_counts_in_its_window_alone(tmp_path: Path) -> None:
    yearly = dataclasses.replace(CAPS, window="calendar-year")
    clock = StillClock(2031, 12, 31)
    damaged(tmp_path)
    override(tmp_path, clock=clock)
    with opened(tmp_path, clock) as ledger:
        with pytest.raises(PrivacyError):
            reserve(ledger, "run2", caps=yearly)
        clock.advance(days=1)
        with pytest.raises(PrivacyError):
            reserve(ledger, "run2")
        reserve(ledger, "run2", caps=yearly)


def test_a_sound_ledger_cannot_be_overridden(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
        head = ledger.head()
    with pytest.raises(ConfigurationError, match="sound"):
        override(tmp_path)
    with pytest.raises(ConfigurationError, match="no ledger"):
        override(tmp_path / "elsewhere")
    with opened(tmp_path) as ledger:
        assert ledger.head() == head


def test_a_ledger_in_use_cannot_be_overridden(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(LockedError):
        override(tmp_path)


def test_a_set_of_patients_that_was_edited_is_reason_enough(tmp_path: Path) -> None:
    with opened(tmp_path) as ledger:
        reserve(ledger)
    (path,) = place(tmp_path).patients.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    override(tmp_path)
    with opened(tmp_path) as ledger:
        ledger.verify()
        assert "was changed" in ledger.accounts.overrides[0].found


def test_a_ledger_from_the_future_is_reason_enough(tmp_path: Path) -> None:
    with opened(tmp_path, StillClock(2041)) as ledger:
        reserve(ledger)
    override(tmp_path)
    with opened(tmp_path) as ledger:
        assert "2041" in ledger.accounts.overrides[0].found


def test_a_ledger_that_is_gone_can_be_overridden_and_twice(tmp_path: Path) -> None:
    for number in (1, 2):
        if number == 1:
            damaged(tmp_path)
        place(tmp_path).entries_file.unlink()
        with pytest.raises(LedgerDamagedError):
            opened(tmp_path)
        override(tmp_path)
    with opened(tmp_path) as ledger:
        assert ledger.accounts.overrides[0].lost_sha256 == ""


@pytest.mark.parametrize("power_cut", [False, True], ids=["kill -9", "power cut"])
def test_an_override_that_a_crash_cuts_short_frees_no_budget(
    tmp_path: Path, power_cut: bool
) -> None:
    for dies_at in range(1, 100):
        home = tmp_path / str(dies_at)
        home.mkdir()
        damaged(home)
        disk = CrashingDisk(dies_at, seed=dies_at, power_cut=power_cut)
        died = False
        with disk.plugged_in():
            try:
                override(home)
            except SimulatedCrash:
                died = True
        try:
            opened(home).close()
        except LedgerDamagedError:
            override(home)
        with opened(home) as ledger:
            assert ledger.accounts.overrides[0].assumed == NO_BOUND
        if not died:
            break
    assert dies_at > 8


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("", "other", "why"),
        ("one", " ", "why"),
        ("one", "other", ""),
        ("one", "one", "why"),
        ("Head of Radiology", "head-of radiology ", "why"),
        ("one", "two\x1b[31m", "why"),
        ("one", "two", "w" * 201),
    ],
)
def test_two_persons_and_a_reason_are_needed(first: str, second: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Signatures(first, second, reason)
    assert caught.value.hint


def test_names_without_letters_are_still_two_names() -> None:
    assert Signatures("1", "2", "why")
    with pytest.raises(ConfigurationError):
        Signatures("--", "..", "why")


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 5.0])
def test_a_number_becomes_a_disclosure_that_costs_as_much_and_hardly_more(epsilon: float) -> None:
    cost = PLD.epsilon_of(assumed_charges(epsilon, 1e-5), 1e-5)
    assert epsilon <= cost <= 1.02 * epsilon
    assert assumed_charges(None, 1e-5) == NO_BOUND


def test_what_was_lost_is_told_in_json_without_patients(tmp_path: Path) -> None:
    damaged(tmp_path)
    override(tmp_path)
    lines = place(tmp_path).entries_file.read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["opened", "overridden"]
