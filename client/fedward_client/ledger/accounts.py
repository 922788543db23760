"""What the entries of a ledger come to: one account for each run.

The rules on what may follow what stand here once. They refuse an operation, and they find a ledger
whose entries do not follow from each other.
"""

from collections.abc import Iterable

from fedward_client.ledger.charges import Charges, Tally
from fedward_client.ledger.damage import ledger_damaged
from fedward_client.ledger.entries import (
    SCHEMA,
    Entry,
    Evaluated,
    Opened,
    Overridden,
    Released,
    Reserved,
    RoundBegun,
    RoundCommitted,
)
from fedward_client.ledger.utc_clock import Window, is_in_window
from fedward_client.noise_place import NoisePlace
from fedward_common.errors import PrivacyError


class RunAccount:
    """One run: what was reserved, what has begun, what is left of it."""

    def __init__(self, reserved: Reserved) -> None:
        self.reserved = reserved
        self.begun: dict[tuple[int, int], RoundBegun] = {}
        self.committed: set[tuple[int, int]] = set()
        self.is_released = False
        self._last_begun_at = reserved.at
        self._holds = Tally((*reserved.planned, *reserved.spare))
        self._spent = Tally()

    def copy(self) -> "RunAccount":
        """Give an account that goes on by itself."""
        other = RunAccount(self.reserved)
        other.begun, other.committed = dict(self.begun), set(self.committed)
        other.is_released, other._last_begun_at = self.is_released, self._last_begun_at
        other._spent = Tally(self._spent.charges())
        return other

    def begin(self, entry: RoundBegun) -> None:
        """Count a round that has begun."""
        self.begun[entry.round, entry.attempt] = entry
        self._spent.add(entry.disclosure)
        self._last_begun_at = entry.at

    @property
    def spent(self) -> Charges:
        """What was begun: it stays spent for ever."""
        return self._spent.charges()

    @property
    def noise_drawn_on(self) -> NoisePlace | None:
        """Where the noise of its rounds was drawn, the weaker place if both; None without any."""
        places = {one.noise_drawn_on for one in self.begun.values()}
        return "device" if "device" in places else "cpu" if "cpu" in places else None

    @property
    def still_reserved(self) -> Charges:
        """What counts though it has not begun."""
        return () if self._has_given_back else self._holds.left_after(self._spent)

    @property
    def charged(self) -> Charges:
        """What counts against its patients: all that is reserved, until it is given back."""
        return self.spent if self._has_given_back else self._holds.charges()

    @property
    def _has_given_back(self) -> bool:
        # Of a run that began nothing, nobody has seen anything: it always gives back.
        return self.is_released and (self.reserved.gives_back or not self.begun)

    def num_left(self, entry: RoundBegun) -> int | None:
        """Give how many steps of the entry's mechanism may begin yet; None for any number."""
        return self._holds.num_left(entry.disclosure, self._spent)

    def counts_in(self, window: Window, now: str) -> bool:
        """Say whether it counts in the window of `now`.

        A run counts as a whole in every window from its reservation to its last round.
        """
        last = self._last_begun_at if self.is_released else None
        return is_in_window(window, now, self.reserved.at, last)


class Accounts:
    """All runs of a ledger, in the order of their reservations; `name` is the ledger's own."""

    def __init__(self) -> None:
        self.runs: dict[str, RunAccount] = {}
        self.evaluations: list[Evaluated] = []
        self.num_entries = 0
        self.overrides: list[Overridden] = []
        self.last_at = ""
        self.name = ""

    def copy(self) -> "Accounts":
        """Give accounts that go on by themselves; entries are shared, for nobody changes them."""
        other = Accounts()
        other.runs = {run: account.copy() for run, account in self.runs.items()}
        other.evaluations = list(self.evaluations)
        other.overrides = list(self.overrides)
        other.num_entries, other.last_at = self.num_entries, self.last_at
        other.name = self.name
        return other

    def require_fits(self, entry: Entry) -> None:
        """Check that an entry may follow.

        Raises:
            PrivacyError: `RUN_ALREADY_RESERVED`, `RUN_NOT_RESERVED`, `RUN_RELEASED`,
                `ROUND_ALREADY_BEGUN`, `ROUND_NOT_BEGUN` or `BUDGET_EXCEEDED`.
        """
        match entry:
            case Reserved():
                self._require_new(entry.run)
            case RoundBegun():
                self._require_may_begin(entry)
            case RoundCommitted():
                self._require_begun(entry)
            case Released():
                self.run(entry.run)
            case Opened() | Evaluated() | Overridden():
                pass

    def add(self, entry: Entry) -> None:
        """Count an entry that fits."""
        self.last_at = entry.at
        self.num_entries += 1
        match entry:
            case Reserved():
                self.runs[entry.run] = RunAccount(entry)
            case RoundBegun():
                self.run(entry.run).begin(entry)
            case RoundCommitted():
                self.run(entry.run).committed.add((entry.round, entry.attempt))
            case Released():
                self.run(entry.run).is_released = True
            case Evaluated():
                self.evaluations.append(entry)
            case Overridden():
                self.overrides.append(entry)
            case Opened():
                self.name = entry.ledger

    def run(self, run: str) -> RunAccount:
        """Give a run's account.

        Raises:
            PrivacyError: `RUN_NOT_RESERVED`.
        """
        if run not in self.runs:
            raise PrivacyError(
                f"run {run} has no reservation in the ledger, one is needed before it trains",
                hint="a run is reserved when it is accepted; start a new run",
                code="RUN_NOT_RESERVED",
            )
        return self.runs[run]

    def charges_by_set(
        self, window: Window, now: str, *, with_reserved: bool
    ) -> dict[str, Charges]:
        """Give what counts in the window of `now`, by the set of patients that is charged."""
        tallies: dict[str, Tally] = {}
        for account in self.runs.values():
            charges = account.charged if with_reserved else account.spent
            if charges and account.counts_in(window, now):
                tally = tallies.setdefault(account.reserved.patients, Tally())
                for one in charges:
                    tally.add(one)
        return {sha256: tally.charges() for sha256, tally in tallies.items()}

    def charged_to_all(self, window: Window, now: str) -> Charges:
        """Give what every patient of the site is taken to have disclosed, by an override."""
        counting = [one for one in self.overrides if is_in_window(window, now, one.at, one.at)]
        return tuple(charge for one in counting for charge in one.assumed)

    def _require_new(self, run: str) -> None:
        if run in self.runs:
            raise PrivacyError(
                f"run {run} is in the ledger already, and a run is reserved once",
                hint="go on with the run, or start a new one",
                code="RUN_ALREADY_RESERVED",
            )

    def _require_may_begin(self, entry: RoundBegun) -> None:
        account = self.run(entry.run)
        where = f"run {entry.run} round {entry.round} attempt {entry.attempt}"
        if account.is_released:
            raise PrivacyError(
                f"{where} cannot begin: the run was released",
                hint="its budget was given back; start a new run",
                code="RUN_RELEASED",
            )
        if (entry.round, entry.attempt) in account.begun:
            raise PrivacyError(
                f"{where} has begun already, and what has begun is spent",
                hint="ask for another attempt, if the reservation holds one",
                code="ROUND_ALREADY_BEGUN",
            )
        left = account.num_left(entry)
        needed = Tally((entry.disclosure,)).num_left(entry.disclosure, Tally())
        if left is not None and (needed is None or needed > left):
            raise PrivacyError(
                f"{where} needs {needed or 'any number of'} steps, {left} of that mechanism are "
                "left of what was reserved",
                hint="each attempt is charged; start a new run, or reserve spare attempts",
                code="BUDGET_EXCEEDED",
            )

    def _require_begun(self, entry: RoundCommitted) -> None:
        if (entry.round, entry.attempt) not in self.run(entry.run).begun:
            raise PrivacyError(
                f"run {entry.run} round {entry.round} attempt {entry.attempt} has not begun, and "
                "only what was charged can be committed",
                hint="begin_round comes first",
                code="ROUND_NOT_BEGUN",
            )


def accounts_of(entries: Iterable[Entry], known: Accounts | None = None) -> Accounts:
    """Go through the entries of a ledger.

    Args:
        entries: In order.
        known: What the entries before them came to; it is left as it is.

    Raises:
        LedgerDamagedError: They do not follow from each other.
    """
    accounts = Accounts() if known is None else known.copy()
    for entry in entries:
        number = accounts.num_entries + 1
        opens = isinstance(entry, Opened)
        if opens != (number == 1) or entry.at < accounts.last_at:
            raise ledger_damaged(f"entry {number} of the ledger does not follow from those before")
        if isinstance(entry, Opened) and entry.schema != SCHEMA:
            raise ledger_damaged(f"the ledger has the form {entry.schema[:40]!r}, not {SCHEMA!r}")
        try:
            accounts.require_fits(entry)
        except PrivacyError as error:
            raise ledger_damaged(f"entry {number} of the ledger cannot be: {error}") from error
        accounts.add(entry)
    return accounts
