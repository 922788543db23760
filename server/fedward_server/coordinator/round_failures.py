"""Why sites are not in a round, as the journal keeps it, and which of it no repeating mends.

And what ends a run: too many rounds left out, or nobody who tests its weights.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedward_common.errors import QuorumError
from fedward_common.identities import SiteId
from fedward_common.secagg import refusal_codes as codes
from fedward_server.coordinator.exchange import UNEXPECTED_ANSWER, Answer, Failure

# A wrong number in a sum has no site that could be named.
NO_SITE = SiteId("")

# With one of these a site says that it can be in no sum of this round any more.
_GONE_FOR_GOOD = frozenset({codes.CLOSED, codes.WEIGHTS_DIFFER, codes.ROUND_OLD})


class RoundLostError(QuorumError):
    """Sites have unmasked, but too few: nothing was revealed, and none of them does so again."""

    code = "ROUND_LOST"


class RoundForgottenError(QuorumError):
    """Simulated sites lost with a process what they had of an attempt; the next is on disk."""


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


def require_worth_going_on(participants: Sequence[Sequence[str]], attempts: int, why: str) -> None:
    """Check that not too many rounds in a row were left out.

    Args:
        participants: One list of sites a round; empty where it was left out.
        attempts: How many in a row end a run.
        why: The last was left out.

    Raises:
        RoundLostError: So many were, and the next one would be as well.
    """
    recent = participants[-attempts:]
    if len(recent) == attempts and not any(recent):
        raise RoundLostError(
            f"{attempts} rounds in a row were left out; the last: {why}",
            hint="the weights are those before them; mend the sites and go on with --resume",
        )


def require_any_round(participants: Sequence[Sequence[str]]) -> None:
    """Check that a run made something.

    Raises:
        QuorumError: Every round was left out.
    """
    if not any(participants):
        raise QuorumError(
            "every round of the run was left out, so there is no model",
            hint="mend the sites and start anew in another --out folder",
        )


def require_tested(sites: Sequence[str], failures: Iterable[Mapping[str, Any]]) -> None:
    """Check that some site gave sums over its test patients.

    Raises:
        QuorumError: None did; each one's code is named.
    """
    if not sites:
        codes = ", ".join(f"{failed['site']}: {failed['code']}" for failed in failures)
        raise QuorumError(
            f"no site evaluated the selected weights on its test patients ({codes})",
            hint="all rounds are kept; mend the sites and go on with --resume",
        )
