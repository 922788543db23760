"""Whether a run may be accepted: the site's caps against what its patients have disclosed.

Three rules, each for itself:

1. The run alone stays within the cap of a job, at the job's delta.
2. For each patient, all disclosures of the window, reserved ones as if spent, composed with the
   run's, stay within the total cap at the site's own delta. Pairs (epsilon, delta) are never added.
3. Where a patient has disclosed something before, the run may have been chosen after its results
   were seen: an RDP filter must admit it as well. The first run of a patient was chosen without,
   so rule 2 is enough for it. But if the filter would not have admitted it, it gives nothing back
   once it has begun: to stop it early, and then to use the rest, would be a choice by results.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fedward_client.ledger.charges import Charges, is_unbounded, merged
from fedward_client.ledger.utc_clock import Window
from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import Disclosure

_HINT = "more noise, fewer rounds or other patients cost less; see: fedward-site ledger"


@dataclass(frozen=True)
class Caps:
    """What a run is held to.

    Args:
        epsilon_per_job: Cap of the run by itself, at `delta_per_job`.
        delta_per_job: The job's delta.
        epsilon_total: Cap of each patient in a window, at `delta_total`.
        delta_total: The site's delta.
        window: Which earlier runs count.
        unbounded_allowed: Whether a run without differential privacy may be accepted. Patients who
            were in one have no bound left to keep: later runs are held to the cap of a job alone.
    """

    epsilon_per_job: float
    delta_per_job: float
    epsilon_total: float
    delta_total: float
    window: Window = "none"
    unbounded_allowed: bool = False

    def __post_init__(self) -> None:
        caps = (self.epsilon_per_job, self.epsilon_total)
        deltas = (self.delta_per_job, self.delta_total)
        in_range = all(0 < one < math.inf for one in caps) and all(0 < one < 1 for one in deltas)
        if not in_range:
            raise PrivacyError(
                f"caps of epsilon {caps} at delta {deltas} bound nothing",
                hint="each epsilon is above 0 and finite, each delta between 0 and 1",
                code="INVALID_CAPS",
            )


class Filter(Protocol):
    """Admits a run that may have been chosen after earlier results were seen."""

    def __call__(
        self,
        spent: Sequence[Disclosure],
        planned: Disclosure,
        *,
        epsilon_cap: float,
        delta: float,
    ) -> bool:
        """Say whether `planned` may follow `spent`."""
        ...


@dataclass(frozen=True)
class Accounting:
    """How disclosures are turned into an epsilon, and which filter admits the next one."""

    epsilon_of: Callable[[Sequence[Disclosure], float], float]
    admits: Filter


def site_accounting() -> Accounting:
    """Give the accounting of a site: privacy loss distributions, and an RDP filter.

    It is imported when it is first asked, which a run without a mechanism never does.
    """
    return Accounting(_epsilon_of, _admits)


def _epsilon_of(disclosures: Sequence[Disclosure], delta: float) -> float:
    from fedward_common.privacy.accountant import PLD

    return PLD.epsilon_of(disclosures, delta)


def _admits(
    spent: Sequence[Disclosure], planned: Disclosure, *, epsilon_cap: float, delta: float
) -> bool:
    from fedward_common.privacy.rdp_filter import admits

    return admits(spent, planned, epsilon_cap=epsilon_cap, delta=delta)


def require_job_within_cap(run: str, wanted: Charges, caps: Caps, accounting: Accounting) -> None:
    """Check a run by itself.

    Raises:
        PrivacyError: `UNBOUNDED_NOT_ALLOWED` or `EPSILON_ABOVE_CAP`.
    """
    if is_unbounded(wanted):
        if caps.unbounded_allowed:
            return
        raise PrivacyError(
            f"run {run} trains without differential privacy, and the site's policy forbids it",
            hint="[privacy] unbounded_training in policy.toml allows it, for ever after",
            code="UNBOUNDED_NOT_ALLOWED",
        )
    epsilon = accounting.epsilon_of(wanted, caps.delta_per_job)
    if not epsilon <= caps.epsilon_per_job:
        raise PrivacyError(
            f"run {run} costs epsilon {epsilon:.4g} at delta {caps.delta_per_job:g}, the site's "
            f"policy allows {caps.epsilon_per_job:g} for a job",
            hint=_HINT,
            code="EPSILON_ABOVE_CAP",
        )


def require_patients_within_cap(
    run: str,
    num_patients: int,
    spent: Charges,
    wanted: Charges,
    caps: Caps,
    accounting: Accounting,
) -> None:
    """Check patients who have the same past.

    Args:
        run: The run, for the message.
        num_patients: How many they are, for the message.
        spent: What they have disclosed in this window, or may yet in a run that is reserved.
        wanted: What the run would disclose.
        caps: The site's.
        accounting: What turns disclosures into an epsilon.

    Raises:
        PrivacyError: `BUDGET_EXCEEDED`.
    """
    if is_unbounded((*spent, *wanted)):
        if caps.unbounded_allowed:
            return
        raise _beyond(run, num_patients, "beyond any bound", caps)
    together = merged((*spent, *wanted))
    epsilon = accounting.epsilon_of(together, caps.delta_total)
    if not epsilon <= caps.epsilon_total:
        raise _beyond(run, num_patients, f"to epsilon {epsilon:.4g}", caps)
    is_first = not spent
    if not is_first and not _is_admitted(spent, wanted, caps, accounting):
        raise _beyond(run, num_patients, f"to epsilon {epsilon:.4g}, as a run chosen later,", caps)


def gives_back(wanted: Charges, caps: Caps, accounting: Accounting) -> bool:
    """Say whether what a run does not begin may be used by later runs: see rule 3."""
    return is_unbounded(wanted) or _is_admitted((), wanted, caps, accounting)


def _is_admitted(spent: Charges, wanted: Charges, caps: Caps, accounting: Accounting) -> bool:
    """Ask the filter once: it looks at the sum of all, so the last may stand for all of them."""
    *before, last = wanted
    return accounting.admits(
        (*spent, *before), last, epsilon_cap=caps.epsilon_total, delta=caps.delta_total
    )


def _beyond(run: str, num_patients: int, where: str, caps: Caps) -> PrivacyError:
    return PrivacyError(
        f"run {run} would bring {num_patients} or more patients {where} at delta "
        f"{caps.delta_total:g}, the site's policy allows {caps.epsilon_total:g} in all",
        hint=_HINT,
        code="BUDGET_EXCEEDED",
    )
