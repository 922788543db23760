"""What a ledger says to the hospital: epsilon by run, and the most that any patient has spent.

Every figure is computed anew from the disclosures, at the ledger's own delta. Epsilons do not add
up: a patient's is that of all disclosures composed.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from fedward_client.ledger.accounts import RunAccount
from fedward_client.ledger.budget import Caps
from fedward_client.ledger.charges import Charges
from fedward_client.ledger.histories import union_of
from fedward_client.ledger.patient_sets import PatientSet
from fedward_client.ledger.site_ledger import Ledger
from fedward_client.ledger.utc_clock import Window
from fedward_client.noise_place import NoisePlace


@dataclass(frozen=True)
class RunStatement:
    """One run of the window; infinity means no bound.

    Args:
        purpose: What the job was for.
        cohort: The cohort's name.
        run: The run.
        num_patients: Its training patients.
        state: "released" once it can begin nothing more.
        attempts_begun: Each is spent.
        attempts_committed: Those whose update was kept.
        evaluations: How often sums over patients left.
        epsilon_spent: Of what has begun, by itself.
        epsilon_reserved: Of what counts though it has not begun, by itself.
        epsilon_left: The cap, less what the most charged of its patients has spent and reserved in
            all runs; never below 0.
        noise_drawn_on: "device" if any of its rounds had the weaker noise of a GPU; None if none
            has had noise.
    """

    purpose: str
    cohort: str
    run: str
    num_patients: int
    state: Literal["open", "released"]
    attempts_begun: int
    attempts_committed: int
    evaluations: int
    epsilon_spent: float
    epsilon_reserved: float
    epsilon_left: float
    noise_drawn_on: NoisePlace | None


@dataclass(frozen=True)
class LedgerStatement:
    """All runs that count in the window, in the order of their reservations.

    Args:
        runs: One line each.
        earlier_runs: Number of runs that count no more.
        most_spent: Epsilon of what has begun, of the patient with the largest.
        most_charged: The same with what is reserved.
        epsilon_total: The cap.
        delta: Of every epsilon here.
        window: Which runs count.
        num_patients: Patients of these runs, each once.
        overrides: How often two persons began a new ledger, in this one.
        num_entries: Entries of the ledger.
        head: Hash of the last entry.
    """

    runs: tuple[RunStatement, ...]
    earlier_runs: int
    most_spent: float
    most_charged: float
    epsilon_total: float
    delta: float
    window: Window
    num_patients: int
    overrides: int
    num_entries: int
    head: str


class _Figures:
    """Epsilons of one ledger at one moment."""

    def __init__(self, ledger: Ledger, caps: Caps) -> None:
        self.now = ledger.time()
        self._ledger = ledger
        self._caps = caps
        self._epsilon_of = ledger.accounting.epsilon_of

    def epsilon_of(self, charges: Charges) -> float:
        return self._epsilon_of(charges, self._caps.delta_total)

    def most(self, members: PatientSet, *, with_reserved: bool) -> float:
        """Give the epsilon of the most charged of these patients."""
        pasts = self._ledger.histories(
            members, self._caps.window, self.now, with_reserved=with_reserved
        )
        return max((self.epsilon_of(charges) for _, charges in pasts), default=0.0)


def statement_of(ledger: Ledger, caps: Caps, cohort: str | None = None) -> LedgerStatement:
    """Say what was spent.

    Args:
        ledger: An open one.
        caps: The site's, with the delta of every figure.
        cohort: Only runs of this cohort; its patients are still charged for all they were in.

    Raises:
        LedgerDamagedError: A set of patients is missing or changed.
    """
    figures = _Figures(ledger, caps)
    named = [
        account
        for account in ledger.accounts.runs.values()
        if cohort is None or account.reserved.cohort == cohort
    ]
    counting = [one for one in named if one.counts_in(caps.window, figures.now)]
    members = _members_of(ledger, counting)
    return LedgerStatement(
        runs=_lines(ledger, counting, figures, caps),
        earlier_runs=len(named) - len(counting),
        most_spent=figures.most(members, with_reserved=False),
        most_charged=figures.most(members, with_reserved=True),
        epsilon_total=caps.epsilon_total,
        delta=caps.delta_total,
        window=caps.window,
        num_patients=len(members),
        overrides=len(ledger.accounts.overrides),
        num_entries=ledger.num_entries,
        head=ledger.head(),
    )


def _members_of(ledger: Ledger, accounts: Sequence[RunAccount]) -> PatientSet:
    different = dict.fromkeys(one.reserved.patients for one in accounts)
    return union_of([ledger.read_set(sha256) for sha256 in different])


def _lines(
    ledger: Ledger, accounts: Sequence[RunAccount], figures: _Figures, caps: Caps
) -> tuple[RunStatement, ...]:
    evaluations = Counter(one.run for one in ledger.accounts.evaluations)
    charged = {
        sha256: figures.most(ledger.read_set(sha256), with_reserved=True)
        for sha256 in dict.fromkeys(one.reserved.patients for one in accounts)
    }
    return tuple(
        RunStatement(
            purpose=one.reserved.purpose,
            cohort=one.reserved.cohort,
            run=one.reserved.run,
            num_patients=one.reserved.num_patients,
            state="released" if one.is_released else "open",
            attempts_begun=len(one.begun),
            attempts_committed=len(one.committed),
            evaluations=evaluations[one.reserved.run],
            epsilon_spent=figures.epsilon_of(one.spent),
            epsilon_reserved=figures.epsilon_of(one.still_reserved),
            epsilon_left=_left(caps.epsilon_total, charged[one.reserved.patients]),
            noise_drawn_on=one.noise_drawn_on,
        )
        for one in accounts
    )


def _left(cap: float, charged: float) -> float:
    return 0.0 if math.isinf(charged) else max(0.0, cap - charged)
