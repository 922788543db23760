"""The privacy ledger of a site: what its patients have disclosed, for all jobs and consortia.

Rules it keeps:

- A run is reserved as a whole before it trains, and counts as if spent from then on.
- A round is on the disk before it trains. What has begun is spent, committed or not.
- A patient is charged in every cohort that the patient is in, by pseudonym.
- Nothing is ever given back but what a released run had not begun.
- A ledger that is missing, edited, cut short or rolled back does not open.
"""

import contextlib
import secrets
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from fedward_client.ledger.accounts import Accounts
from fedward_client.ledger.budget import (
    Accounting,
    Caps,
    gives_back,
    require_job_within_cap,
    require_patients_within_cap,
    site_accounting,
)
from fedward_client.ledger.charges import Charges, merged
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.entries import (
    SCHEMA,
    Entry,
    Evaluated,
    Opened,
    Released,
    Reserved,
    RoundBegun,
    RoundCommitted,
)
from fedward_client.ledger.heads import blinded
from fedward_client.ledger.histories import histories_of, longest_histories
from fedward_client.ledger.ledger_file import LedgerFile
from fedward_client.ledger.ledger_folder import LedgerFolder, ledger_folder
from fedward_client.ledger.patient_sets import PatientSet, PatientSets, patient_set_of
from fedward_client.ledger.utc_clock import UtcClock, Window, moment_of, utc_text
from fedward_client.noise_place import NoisePlace
from fedward_client.site_home import SiteHome
from fedward_common.errors import PrivacyError
from fedward_common.privacy.disclosures import Disclosure

CLOCK_TOLERANCE_SECONDS = 60


class Ledger:
    """A site's ledger, open for one writer; use it as a context manager.

    Args:
        folder: Where it lies; made if there is none.
        clock: The calendar.
        accounting: What turns disclosures into an epsilon; None for the site's own.
        wait: Wait for whoever has it open, as the processes of a simulation do.

    Raises:
        LockedError: Another process, or this one, has it open.
        LedgerDamagedError: It is missing, edited, cut short or rolled back.
    """

    def __init__(
        self,
        folder: LedgerFolder,
        clock: UtcClock,
        accounting: Accounting | None = None,
        *,
        wait: bool = False,
    ) -> None:
        self._clock = clock
        self._accounting = accounting
        self._sets = PatientSets(folder.patients)
        with contextlib.ExitStack() as stack:
            folder.create()
            stack.enter_context(folder.locked(wait=wait))
            self._file = LedgerFile(folder)
            stack.callback(self._file.close)
            for sha256, num_patients in _named_sets(self.accounts):
                self._sets.require_there(sha256, num_patients)
            self._file.sync_heads()
            self._open_if_new()
            self._opened = stack.pop_all()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let others open it."""
        self._opened.close()

    @property
    def accounting(self) -> Accounting:
        """What turns disclosures into an epsilon."""
        return self._accounting or site_accounting()

    @property
    def accounts(self) -> Accounts:
        """What the entries come to; to be read, never changed."""
        return self._file.accounts

    # -- what a run does ---------------------------------------------------------------------------

    def reserve(
        self,
        run: str,
        purpose: str,
        cohort: str,
        patients: NDArray[np.uint8],
        planned: Charges,
        caps: Caps,
        *,
        spare: Charges = (),
    ) -> None:
        """Reserve a whole run at its acceptance, before anything trains.

        Each attempt at a round is a disclosure of its own. The rounds that begin may come to the
        steps of `planned` and `spare` together; an attempt beyond is refused when it begins.

        Args:
            run: The run.
            purpose: What the job is for.
            cohort: The cohort's name at this site.
            patients: Pseudonyms of its training patients, shape (n, 16); one may come twice.
            planned: What the whole run discloses of each of them, with the steps of all rounds.
            caps: What the site's policy allows.
            spare: What attempts beyond the plan may disclose; charged as the plan is.

        Raises:
            PrivacyError: `RUN_ALREADY_RESERVED`, `NOTHING_TO_RESERVE`, `INVALID_PATIENTS`,
                `UNBOUNDED_NOT_ALLOWED`, `EPSILON_ABOVE_CAP`, `BUDGET_EXCEEDED` or
                `CLOCK_SET_BACK`. Nothing was written.
        """
        members = patient_set_of(patients)
        _require_something(run, len(members), len(planned))
        wanted = merged((*planned, *spare))
        entry = Reserved(
            self._now(), run, purpose, cohort, members.sha256, len(members), planned, spare,
            float(caps.epsilon_total), float(caps.delta_total),
            gives_back(wanted, caps, self.accounting),
        )  # fmt: skip
        self.accounts.require_fits(entry)
        self._require_within(run, members, wanted, caps, entry.at)
        self._sets.keep(members)
        self._append(entry)

    def begin_round(
        self,
        run: str,
        round_number: int,
        attempt: int,
        disclosure: Disclosure,
        noise_drawn_on: NoisePlace | None = None,
    ) -> None:
        """Charge one attempt at a round; when this returns it is on the disk, and may train.

        Args:
            run: A reserved one.
            round_number: From 1.
            attempt: At this round, from 1.
            disclosure: What it discloses of each patient.
            noise_drawn_on: Where its noise will be drawn; None without noise.

        Raises:
            PrivacyError: `RUN_NOT_RESERVED`, `RUN_RELEASED`, `ROUND_ALREADY_BEGUN`,
                `BUDGET_EXCEEDED` beyond the reservation, or `CLOCK_SET_BACK`.
        """
        now = self._now()
        self._append(RoundBegun(now, run, round_number, attempt, disclosure, noise_drawn_on))

    def commit_round(self, run: str, round_number: int, attempt: int) -> None:
        """Note that an attempt's update is kept; a second time changes nothing.

        Raises:
            PrivacyError: `ROUND_NOT_BEGUN`, `RUN_NOT_RESERVED` or `CLOCK_SET_BACK`.
        """
        if (round_number, attempt) not in self.accounts.run(run).committed:
            self._append(RoundCommitted(self._now(), run, round_number, attempt))

    def note_evaluation(self, run: str, split: str, patients: NDArray[np.uint8], mode: str) -> None:
        """Note that sums over patients leave; no epsilon is charged for it.

        Args:
            run: The run; it may be one in which the site does not train.
            split: Which patients: "validation" or "test".
            patients: Their pseudonyms, shape (n, 16).
            mode: "exact": they are protected by being added to others alone.
        """
        members = patient_set_of(patients)
        self._sets.keep(members)
        self._append(Evaluated(self._now(), run, split, mode, members.sha256, len(members)))

    def release(self, run: str) -> None:
        """End a finished or withdrawn run; a second time changes nothing.

        What it had not begun is given back, unless it was a first run too large for the filter
        (`budget`, rule 3). What it had begun stays spent.

        Raises:
            PrivacyError: `RUN_NOT_RESERVED` or `CLOCK_SET_BACK`.
        """
        if not self.accounts.run(run).is_released:
            self._append(Released(self._now(), run))

    def require_charged(self, run: str, patients: NDArray[np.uint8], planned: Charges) -> None:
        """Check that a run is about to train on those it is charged to, and with what was reserved.

        For a run that was reserved before: its cohort may have grown since, and its job may be
        another one. Fewer patients are no harm.

        Args:
            run: A reserved one.
            patients: Pseudonyms, shape (n, 16).
            planned: What the whole run would disclose of each of them.

        Raises:
            PrivacyError: `PATIENTS_NOT_CHARGED`, `RUN_ALREADY_RESERVED`, `RUN_NOT_RESERVED`.
        """
        reserved = self.accounts.run(run).reserved
        others = patient_set_of(patients)
        is_charged = self._sets.read(reserved.patients).members_among(others)
        if not is_charged.all():
            raise PrivacyError(
                f"run {run} would train on {int((~is_charged).sum())} patients who were not there "
                "when it was reserved, and are not charged",
                hint="train with the cohort as it was, or start a new run",
                code="PATIENTS_NOT_CHARGED",
            )
        if merged(reserved.planned) != merged(planned):
            raise PrivacyError(
                f"run {run} was reserved with another mechanism, noise or number of steps",
                hint="go on with the job as it was accepted, or start a new run",
                code="RUN_ALREADY_RESERVED",
            )

    def has_reserved(self, run: str) -> bool:
        """Say whether a run was reserved, released or not."""
        return run in self.accounts.runs

    def has_begun(self, run: str, round_number: int) -> bool:
        """Say whether any attempt at a round has begun."""
        account = self.accounts.runs.get(run)
        return account is not None and any(one == round_number for one, _ in account.begun)

    # -- what is asked of it -----------------------------------------------------------------------

    def read_set(self, sha256: str) -> PatientSet:
        """Give a set of patients that an entry names.

        Raises:
            LedgerDamagedError: Its file is missing, or not what was written.
        """
        return self._sets.read(sha256)

    def histories(
        self, members: PatientSet, window: Window, now: str, *, with_reserved: bool
    ) -> list[tuple[int, Charges]]:
        """Give what the most charged of `members` have disclosed in the window of `now`.

        Args:
            members: The patients asked about.
            window: What counts.
            now: The moment asked about.
            with_reserved: Whether what a run has reserved counts as if spent.

        Returns:
            Number of patients and their disclosures; every member has disclosed as much as one of
            these, or less.
        """
        by_set = self.accounts.charges_by_set(window, now, with_reserved=with_reserved)
        to_all = self.accounts.charged_to_all(window, now)
        charges = list(by_set.values())
        sets = [self._sets.read(sha256) for sha256 in by_set]
        return [
            (one.num_patients, merged((*to_all, *(c for k in one.sets for c in charges[k]))))
            for one in longest_histories(histories_of(members, sets))
        ]

    def time(self) -> str:
        """Give the time that counts: now, or that of the last entry if the clock is behind it."""
        return max(utc_text(self._clock.utc_now()), self.accounts.last_at)

    def verify(self) -> None:
        """Read every set of patients as well; opening has checked the rest.

        Raises:
            LedgerDamagedError: One is missing, or not what was written.
        """
        for sha256, num_patients in _named_sets(self.accounts):
            if len(self._sets.read(sha256)) != num_patients:
                raise ledger_damaged(f"the ledger's set of patients {sha256} has another size")

    def head(self) -> str:
        """Give the hash of the last entry, in hex."""
        return self._file.head.sha256

    @property
    def num_entries(self) -> int:
        """Number of entries."""
        return self._file.head.num_entries

    def blinded_head(self, key: bytes) -> str:
        """Give the head as peers may keep it; it says nothing without the site's key."""
        return blinded(self.head(), key)

    def require_descends_from(self, blinded_head: str, key: bytes) -> None:
        """Check that a head which a peer kept is one of this ledger's.

        Raises:
            LedgerDamagedError: It is not: the ledger and its own heads were rolled back together.
        """
        if blinded_head not in {blinded(one, key) for one in self._file.hashes}:
            raise ledger_damaged(
                "a receipt or a peer has a head that this ledger never had or has no more: "
                "it was rolled back"
            )

    # -- inside ------------------------------------------------------------------------------------

    def _require_within(
        self, run: str, members: PatientSet, wanted: Charges, caps: Caps, now: str
    ) -> None:
        require_job_within_cap(run, wanted, caps, self.accounting)
        for num_patients, spent in self.histories(members, caps.window, now, with_reserved=True):
            require_patients_within_cap(run, num_patients, spent, wanted, caps, self.accounting)

    def _open_if_new(self) -> None:
        if not self.accounts.last_at:
            self._file.append(Opened(self._now(), SCHEMA, secrets.token_hex(16)))
        self._file.mark_begun()

    def _append(self, entry: Entry) -> None:
        self._file.append(entry)

    def _now(self) -> str:
        now, last = utc_text(self._clock.utc_now()), self.accounts.last_at
        if not last or now >= last:
            return now
        if (moment_of(last) - moment_of(now)).total_seconds() > CLOCK_TOLERANCE_SECONDS:
            raise PrivacyError(
                f"the clock says {now}, the ledger's last entry is of {last}",
                hint="set the clock right; nothing is spent until it has passed the last entry. "
                "If that entry's time was wrong, see: fedward-site ledger override",
                code="CLOCK_SET_BACK",
            )
        return last


def _require_something(run: str, num_patients: int, num_disclosures: int) -> None:
    if not num_patients or not num_disclosures:
        raise PrivacyError(
            f"run {run} has {num_patients} patients and {num_disclosures} disclosures, at least "
            "one of each is needed",
            hint="a site without training patients does not train",
            code="NOTHING_TO_RESERVE",
        )


def _named_sets(accounts: Accounts) -> set[tuple[str, int]]:
    reserved = {
        (run.reserved.patients, run.reserved.num_patients) for run in accounts.runs.values()
    }
    return reserved | {(one.patients, one.num_patients) for one in accounts.evaluations}


def open_ledger(
    home: SiteHome,
    clock: UtcClock,
    accounting: Accounting | None = None,
    *,
    wait: bool = False,
) -> Ledger:
    """Open a site's ledger; see `Ledger`.

    Raises:
        ConfigurationError: The site's key is missing.
    """
    return Ledger(ledger_folder(home), clock, accounting, wait=wait)
