"""Small ledgers, a clock that stands still, and an accounting that can be done by hand."""

import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedward_client.ledger.budget import Accounting, Caps
from fedward_client.ledger.charges import count_of
from fedward_client.ledger.ledger_folder import LedgerFolder
from fedward_client.ledger.site_ledger import Ledger
from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import Disclosure, SampledGaussian, Unbounded


class StillClock:
    """A calendar that moves when it is told to."""

    def __init__(self, year: int = 2031, month: int = 5, day: int = 1) -> None:
        self.now = datetime(year, month, day, 12, tzinfo=UTC)

    def utc_now(self) -> datetime:
        return self.now

    def advance(self, **time: float) -> None:
        self.now += timedelta(**time)


def steps(number: int, noise_multiplier: float = 1.0) -> SampledGaussian:
    """So many steps, each of epsilon 1 / noise_multiplier in the toy accounting."""
    return SampledGaussian(noise_multiplier, 0.5, number)


def _toy_epsilon(disclosures: Sequence[Disclosure], delta: float) -> float:
    if any(isinstance(one, Unbounded) for one in disclosures):
        return math.inf
    return float(sum(count_of(one) / getattr(one, "noise_multiplier", 1.0) for one in disclosures))


def _toy_admits(
    spent: Sequence[Disclosure], planned: Disclosure, *, epsilon_cap: float, delta: float
) -> bool:
    return _toy_epsilon((*spent, planned), delta) <= epsilon_cap


TOY = Accounting(_toy_epsilon, _toy_admits)
CAPS = Caps(epsilon_per_job=100.0, delta_per_job=1e-5, epsilon_total=100.0, delta_total=1e-5)


def patients(numbers: Iterable[int]) -> NDArray[np.uint8]:
    """Pseudonyms of patients 0, 1, ...; the first bytes of some are alike."""
    rows = [(number % 7).to_bytes(8, "big") + number.to_bytes(8, "big") for number in numbers]
    return np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(-1, 16)


def place(home: Path) -> LedgerFolder:
    return LedgerFolder(
        home / "ledger",
        home / "trust" / "ledger-head.json",
        home / "ledger_begun.json",
        home / "runs",
        seal_key=bytes(32),
    )


def opened(home: Path, clock: StillClock | None = None, accounting: Accounting = TOY) -> Ledger:
    return Ledger(place(home), clock or StillClock(), accounting)


def reserve(
    ledger: Ledger,
    run: str = "run1",
    numbers: Iterable[int] = range(4),
    planned: Disclosure | None = None,
    caps: Caps = CAPS,
    cohort: str = "chest",
    spare: tuple[Disclosure, ...] = (),
) -> None:
    ledger.reserve(
        run, "pneumonia", cohort, patients(numbers), (planned or steps(10),), caps, spare=spare
    )


def steps_by_patient(ledger: Ledger, *, with_reserved: bool) -> dict[bytes, int]:
    """Count each patient's steps one run after the other, by sets of Python."""
    found: dict[bytes, int] = {}
    for account in ledger.accounts.runs.values():
        charges = account.charged if with_reserved else account.spent
        for row in ledger.read_set(account.reserved.patients).rows:
            name = row.tobytes()
            found[name] = found.get(name, 0) + sum(map(count_of, charges))
    return found


def essence(ledger: Ledger) -> list[dict[str, object]]:
    found = []
    for run, account in ledger.accounts.runs.items():
        found.append(
            {
                "run": run,
                "spent": account.spent,
                "reserved": account.still_reserved,
                "begun": sorted(account.begun),
                "committed": sorted(account.committed),
                "released": account.is_released,
            }
        )
    return found


def refusal(act: Callable[[], object]) -> str:
    """Give the code that something is refused with."""
    with pytest.raises(PrivacyError) as caught:
        act()
    assert caught.value.hint
    return caught.value.code
