"""The site's own record of what it refused for the secrecy of its contribution, and of who decided.

Hash-chained lines in `audit.jsonl` of the home, one for each rule that a request broke: the
coordinator learns the code, and so does the hospital. One also for each decision of a person about
jobs, with the account it was made from. Several processes of a site may write; they
take turns. Lines hold codes and names of sites, nothing of a patient.
"""

from typing import TYPE_CHECKING, Any

from fedward_common.errors import (
    AggregationRefusedError,
    CorruptFileError,
    FedwardError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.file_lock import held_lock
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenSite
    from fedward_client.site_home import SiteHome
    from fedward_common.wire.header import Header

AUDIT_FILE = "audit.jsonl"

_LOCK = ".audit.lock"
# Refusals of a whole run for what would leave in clear.
_POLICY_CODES = frozenset({"SECURE_AGGREGATION_REQUIRED", "ANSWERS_NOT_SEALED"})
# In a step of the protocol these come from keys, shares or lists that an honest peer never makes.
_BAD_PEER = (MalformedMessageError, UnverifiedMessageError)


def audit_refusal(
    site: "OpenSite", header: "Header", message: messages.Message | None, error: FedwardError
) -> None:
    """Write down a refusal, if it is one of secure aggregation.

    Args:
        site: Whose.
        header: Of the request.
        message: What was asked; None where that could not be read.
        error: Why it was refused.
    """
    is_bad_step = isinstance(message, messages.SecureStep) and isinstance(error, _BAD_PEER)
    if not (
        isinstance(error, AggregationRefusedError) or is_bad_step or error.code in _POLICY_CODES
    ):
        return
    purpose, step = _place_of(message)
    _append(site, header, purpose, step, code=error.code)


def audit_note(site: "OpenSite", header: "Header", message: messages.SecureStep, note: str) -> None:
    """Write down what another site did wrong and this one bore."""
    _append(site, header, message.purpose, message.step, note=note)


def audit_decision(
    home: "SiteHome", decision: str, *, by: str, now_seconds: float, **details: str
) -> None:
    """Write down what was decided about jobs, and by whom.

    Raises:
        CorruptFileError: The record was changed since it was written; nothing was added.
    """
    entry = {"utc_seconds": round(now_seconds, 3), "decision": decision, "by": by, **details}
    with held_lock(home.folder / _LOCK), ChainedLines(home.folder / AUDIT_FILE) as lines:
        lines.append(entry)


def verified_audit(home: "SiteHome") -> tuple[int, str]:
    """Read the whole record; give its number of lines and the hash of the last.

    Raises:
        CorruptFileError: A line was changed, or one in the middle is gone.
    """
    if not (home.folder / AUDIT_FILE).exists():
        return 0, ""
    with held_lock(home.folder / _LOCK), ChainedLines(home.folder / AUDIT_FILE) as lines:
        return sum(1 for _ in lines.entries()), lines.head


def _place_of(message: messages.Message | None) -> tuple[str, str]:
    if isinstance(message, messages.SecureStep):
        return message.purpose, message.step
    if isinstance(message, messages.TrainRound):
        return "train", "ready"
    if isinstance(message, messages.EvaluateWeights):
        return message.split, "ready"
    return "", "accept"


def _append(site: "OpenSite", header: "Header", purpose: str, step: str, **what: str) -> None:
    entry: dict[str, Any] = {
        "utc_seconds": round(site.utc_seconds(), 3),
        "run": header.run,
        "round": header.round,
        "attempt": header.attempt,
        "purpose": purpose,
        "step": step,
        **what,
    }
    folder = site.home.folder
    try:
        with held_lock(folder / _LOCK), ChainedLines(folder / AUDIT_FILE) as lines:
            lines.append(entry)
    except CorruptFileError as error:
        # The request is refused all the same; a changed record is for the hospital to look into.
        site.log.error("%s: %s", AUDIT_FILE, error.code)
