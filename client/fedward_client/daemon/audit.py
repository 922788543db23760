"""The site's own record of what it refused, and of who decided.

Hash-chained lines in `audit.jsonl` of the home. Each refusal of a message stands there: the
coordinator learns the code, and so does the hospital. So does each message that was answered and
came again (REPLAY), and each decision of a person about jobs, with the account it was made from.
Several processes of a site may write; they take turns. What is refused again and again is counted
(`refusal_tally`), and what is counted lies in `refusals.json` until it is written: a kill loses
none of it, and after a power cut the counting begins anew.

A line holds codes, numbers and words that this program knows, and names of sites and runs; nothing
of a patient, and no text of a peer. Of what could not be believed it holds what Flower called it.
"""

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fedward_client.daemon.refusal_tally import Line, Share, Tally, note_one_more
from fedward_client.daemon.site_log import kind_and_place, site_log_of
from fedward_common.atomic_files import full_disk_named, write_all
from fedward_common.errors import (
    AggregationRefusedError,
    ConfigurationError,
    FedwardError,
    MalformedMessageError,
    UnverifiedMessageError,
)
from fedward_common.file_lock import held_lock
from fedward_common.hash_chain import ChainedLines
from fedward_common.settings import from_table
from fedward_common.wire import messages

if TYPE_CHECKING:
    from fedward_client.daemon.site_state import OpenSite
    from fedward_client.site_home import SiteHome
    from fedward_common.wire.header import Header

AUDIT_FILE = "audit.jsonl"
TALLY_FILE = "refusals.json"
APP_RAISED = "CLIENT_APP_RAISED"
REPLAY = "REPLAY"

_LOCK = ".audit.lock"
# Refusals of a whole run for what would leave in clear.
_POLICY_CODES = frozenset({"SECURE_AGGREGATION_REQUIRED", "ANSWERS_NOT_SEALED"})
# In a step of the protocol these come from keys, shares or lists that an honest peer never makes.
_BAD_PEER = (MalformedMessageError, UnverifiedMessageError)
_HEX = frozenset("0123456789abcdef")
_LARGEST = 1 << 31


def audit_refusal(
    site: "OpenSite", header: "Header", message: messages.Message | None, error: Exception
) -> None:
    """Write down that a message of the coordinator was refused.

    Args:
        site: Whose. In a simulation only what concerns the secrecy of a contribution is written.
        header: Of the request, whose signature was verified.
        message: What was asked; None where that could not be read.
        error: Why it was refused.
    """
    concerns_secrecy = _concerns_secrecy(message, error)
    if site.is_simulated and not concerns_secrecy:
        return
    line = _asked(site, header, message) | {"code": refusal_code(error)}
    share: Share = "secrecy" if concerns_secrecy else "coordinator"
    _count(site.home, share, line, now_seconds=site.utc_seconds())


def audit_repetition(site: "OpenSite", header: "Header", message: messages.Message | None) -> None:
    """Write down that a message that was answered came again.

    Whether it is answered alike now is not said; where it is refused, that has a line of its own.

    Args:
        site: Whose.
        header: Of the message, verified.
        message: What it asks; None where that cannot be read.
    """
    line = _asked(site, header, message) | {"code": REPLAY}
    _count(site.home, "repeated", line, now_seconds=site.utc_seconds())


def audit_unbelieved(
    home: "SiteHome", message_type: str, error: Exception, *, now_seconds: float
) -> None:
    """Write down that a message was not believed, here and as a line of `site.log`.

    Args:
        home: Of the site, which may be one that cannot be opened.
        message_type: What Flower calls the message, one of those that an app registered.
        error: Why. What the message says of itself is nobody's word, so none of it is written.
        now_seconds: Seconds since 1970.
    """
    line: Line = {"unbelieved": message_type, "code": refusal_code(error)}
    if _count(home, "stranger", line, now_seconds=now_seconds):
        where = kind_and_place(error)
        site_log_of(home).warning("%s could not be believed: %s", message_type, where)


def audit_unanswered(home: "SiteHome", *, now_seconds: float) -> None:
    """Write down that a message was of no kind that a site answers, or that its app broke."""
    _count(home, "stranger", {"unbelieved": "", "code": APP_RAISED}, now_seconds=now_seconds)


def audit_order(home: "SiteHome", code: str, *, by: str, now_seconds: float) -> None:
    """Write down that an account of this machine was not heard."""
    _count(home, "account", {"order": "refused", "by": by, "code": code}, now_seconds=now_seconds)


def audit_note(site: "OpenSite", header: "Header", message: messages.SecureStep, note: str) -> None:
    """Write down what another site did wrong and this one bore."""
    line = _asked(site, header, message) | {"note": note}
    try:
        with held_lock(site.home.folder / _LOCK):
            _append(site.home, [line], now_seconds=site.utc_seconds())
    except (FedwardError, OSError) as error:
        _say_unwritten(site.home, error)


def audit_decision(
    home: "SiteHome", decision: str, *, by: str, now_seconds: float, **details: str
) -> None:
    """Write down what was decided about jobs, and by whom.

    Raises:
        CorruptFileError: The record was changed since it was written; nothing was added.
    """
    with held_lock(home.folder / _LOCK):
        _append(home, [{"decision": decision, "by": by, **details}], now_seconds=now_seconds)


def verified_audit(home: "SiteHome") -> tuple[int, str]:
    """Read the whole record; give its number of lines and the hash of the last.

    Raises:
        CorruptFileError: A line was changed, or one in the middle is gone.
    """
    if not (home.folder / AUDIT_FILE).exists():
        return 0, ""
    with open_audit(home) as lines:
        return sum(1 for _ in lines.entries()), lines.head


def audit_lines(home: "SiteHome") -> tuple[list[Line], list[Line]]:
    """Read the whole record: its lines, oldest first, and those that counts are to become.

    Among the latter is what was left out for want of lines and is not written yet.

    Raises:
        CorruptFileError: A line was changed, or one in the middle is gone.
    """
    if not (home.folder / AUDIT_FILE).exists():
        return [], []
    with open_audit(home) as lines:
        return list(lines.entries()), list(_read_tally(home).unwritten())


def refusal_code(error: Exception) -> str:
    """Give the one word about an error that may leave the site."""
    return error.code if isinstance(error, FedwardError) else "INTERNAL_ERROR"


def _concerns_secrecy(message: messages.Message | None, error: Exception) -> bool:
    is_bad_step = isinstance(message, messages.SecureStep) and isinstance(error, _BAD_PEER)
    refuses = isinstance(error, AggregationRefusedError)
    return refuses or is_bad_step or refusal_code(error) in _POLICY_CODES


def _asked(site: "OpenSite", header: "Header", message: messages.Message | None) -> Line:
    """Give what was asked for, in words and numbers of this program alone."""
    purpose, step = _place_of(message)
    # A run is asked for under one manifest, again and again while it waits for somebody.
    is_of_run = isinstance(message, messages.ManifestQuery)
    return {
        "run": _run_of(site, header),
        "round": 0 if is_of_run else _number(header.round),
        "attempt": 0 if is_of_run else _number(header.attempt),
        "kind": header.kind if header.kind in messages.KINDS else "",
        "purpose": purpose,
        "step": step,
    }


def _run_of(site: "OpenSite", header: "Header") -> str:
    """Give a run's name where it is no free text: as coordinators draw them, or known here."""
    run = header.run
    if len(run) == 16 and _HEX.issuperset(run):
        return run
    is_plain = run.isascii() and run.isalnum() and len(run) <= 64
    return run if is_plain and site.home.run_folder(run).is_dir() else ""


def _number(unverified: int) -> int:
    return unverified if 0 <= unverified < _LARGEST else -1


def _place_of(message: messages.Message | None) -> tuple[str, str]:
    if isinstance(message, messages.SecureStep):
        return message.purpose, message.step
    if isinstance(message, messages.TrainRound):
        return "train", "ready"
    if isinstance(message, messages.EvaluateWeights):
        return message.split, "ready"
    return "", "accept" if isinstance(message, messages.ManifestQuery) else ""


def _count(home: "SiteHome", share: Share, line: Line, *, now_seconds: float) -> bool:
    """Take one more refusal into the record; say whether it is a line of its own there.

    What cannot be written keeps nobody from refusing: it is for the hospital to look into.
    """
    try:
        with held_lock(home.folder / _LOCK):
            noted = note_one_more(_read_tally(home), share, line, now_seconds=now_seconds)
            if noted.lines:
                _append(home, noted.lines, now_seconds=now_seconds)
            _write_tally(home, noted.tally)
    except (FedwardError, OSError) as error:
        _say_unwritten(home, error)
        return False
    return noted.is_new


def _append(home: "SiteHome", lines: Iterable[Line], *, now_seconds: float) -> None:
    """Append lines; the caller holds the lock."""
    with ChainedLines(home.folder / AUDIT_FILE) as record:
        for line in lines:
            record.append({"utc_seconds": round(now_seconds, 3), **line})


def _say_unwritten(home: "SiteHome", error: Exception) -> None:
    code = error.code if isinstance(error, FedwardError) else type(error).__name__
    site_log_of(home).error("%s: %s", AUDIT_FILE, code)


def _read_tally(home: "SiteHome") -> Tally:
    """Give what was counted; where that is gone or damaged, the counting begins anew."""
    try:
        return from_table(Tally, json.loads((home.folder / TALLY_FILE).read_bytes()))
    except (OSError, ValueError, RecursionError, ConfigurationError):
        return Tally()


def _write_tally(home: "SiteHome", tally: Tally) -> None:
    # Whole or not there after a kill; not waiting for the disk keeps what is repeated cheap.
    path = home.folder / TALLY_FILE
    new = path.with_name(f".{TALLY_FILE}.new")
    with full_disk_named(path):
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(descriptor, json.dumps(dataclasses.asdict(tally)).encode())
        finally:
            os.close(descriptor)
        new.replace(path)


@contextlib.contextmanager
def open_audit(home: "SiteHome") -> Iterator[ChainedLines]:
    """Open the record, alone for as long as the block lasts.

    Raises:
        CorruptFileError: It was changed since it was written.
    """
    with held_lock(home.folder / _LOCK), ChainedLines(home.folder / AUDIT_FILE) as lines:
        yield lines
