"""The one way in which a ledger refuses to start, and what a person can do then."""

from fedward_common.errors import LedgerDamagedError

RECOVERY = (
    "nothing trains on it. Bring back ledger/, trust/ledger-head.json, ledger_begun.json and "
    "split.key as they were last written; an older copy will not do, for it has forgotten what was "
    "spent since. If that cannot be, two persons may sign: fedward-site ledger override "
    "--first NAME --second NAME --reason TEXT, which takes every patient's budget for spent"
)


def ledger_damaged(message: str) -> LedgerDamagedError:
    """Make the error that says what is wrong and how to go on."""
    return LedgerDamagedError(message, hint=RECOVERY)
