"""Why sites are not in a round, as the journal keeps it, and which of it no repeating mends."""

from collections.abc import Iterable
from typing import Any

from fedward_common.secagg import refusal_codes as codes
from fedward_server.coordinator.exchange import UNEXPECTED_ANSWER, Answer, Failure
from fedward_server.coordinator.secure_sum import NO_SITE

# With one of these a site says that it can be in no sum of this round any more.
_GONE_FOR_GOOD = frozenset({codes.CLOSED, codes.WEIGHTS_DIFFER, codes.ROUND_OLD})


def told_failures(failures: Iterable[Failure], number: int, attempt: int) -> list[dict[str, Any]]:
    """Give what the journal keeps of the failures of one attempt."""
    return [told_failure(failed, number, attempt) for failed in failures]


def told_failure(outcome: Answer | Failure, number: int, attempt: int) -> dict[str, Any]:
    """Give what the journal keeps of one; an answer here is one that nobody can use."""
    code = outcome.code if isinstance(outcome, Failure) else UNEXPECTED_ANSWER
    return {"round": number, "attempt": attempt, "site": outcome.site, "code": code}


def are_for_good(failures: Iterable[Failure]) -> bool:
    """Say whether a sum can be had no more under its number, however often it is asked for.

    Either a site gives no second sum of that round, or the sum came and is of no use.
    """
    return any(failed.code in _GONE_FOR_GOOD or failed.site == NO_SITE for failed in failures)
