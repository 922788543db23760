"""A site is asked what it does not do, and everything that is promised of a refusal is checked."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.client.daemon.asked_site import Answered
from tests.client.jobs.asking_coordinator import Asking

from fedward_client.daemon.audit import AUDIT_FILE, TALLY_FILE
from fedward_client.jobs.refusal_words import words_of_refusal
from fedward_common.hash_chain import ChainedLines
from fedward_common.wire import messages

NEEDLE = "NEEDLE^Anna"
# What a refusal may add to: its own records, and what left.
_RECORDS = {AUDIT_FILE, TALLY_FILE, "site.log", ".audit.lock"}


def state_of(home: Path) -> dict[str, str]:
    """Hash every file of a home that a refusal must leave as it is."""
    return {
        str(path.relative_to(home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(home.rglob("*"))
        if path.is_file()
        and path.name not in _RECORDS
        and not {"egress", "reports"} & set(path.relative_to(home).parts)
        and path.name != ".lock"
    }


def entries_of(home: Path) -> list[dict[str, Any]]:
    if not (home / AUDIT_FILE).exists():
        return []
    with ChainedLines(home / AUDIT_FILE) as lines:
        return list(lines.entries())


def logged(home: Path) -> str:
    log = home / "site.log"
    return log.read_text() if log.exists() else ""


def require_written_down(
    one: Asking, ask: Callable[[Asking], Answered], code: str, *, again: bool = False
) -> dict[str, Any]:
    """Ask what is refused, and check everything that is promised of it.

    `again` where it was asked in the same words and answered, before it was forbidden.
    """
    home = one.home.folder
    (home / TALLY_FILE).unlink(missing_ok=True)
    before, entries, log = state_of(home), len(entries_of(home)), len(logged(home))
    answer = ask(one)
    if answer.error:
        assert answer.error == code
    else:
        assert answer.message == messages.Refusal(code)
    assert answer.arrays == {}
    *repeated, entry = entries_of(home)[entries:]
    assert [before["code"] for before in repeated] == (["REPLAY"] if again else [])
    assert entry["code"] == code
    line = logged(home)[log:]
    assert len(line.splitlines()) == 1
    assert code in line
    written = line + json.dumps(entry) + (home / TALLY_FILE).read_text()
    assert "NEEDLE" not in written
    assert words_of_refusal(code) != words_of_refusal("OF_ANOTHER_RELEASE")
    assert state_of(home) == before
    return entry


def proposed(one: Asking, **changes: Any) -> Answered:
    setup = one.coordinator.setup
    query = messages.ManifestQuery(
        changes.pop("manifest", setup.manifest_bytes), changes.pop("roster", setup.roster_bytes)
    )
    subject = one.coordinator.subject(0, manifest_sha256="", **changes)
    return one.coordinator.ask("query.manifest", query, subject=subject)


def weights_of(one: Asking, change: Callable[[Any], Any] = lambda w: w) -> dict[str, Any]:
    return {messages.WEIGHTS: change(one.coordinator.weights)}


def trained(**changes: Any) -> Callable[[Asking], Answered]:
    def ask(one: Asking) -> Answered:
        number = changes.get("number", 1)
        subject = one.coordinator.subject(number, **changes.get("subject", {}))
        others = {k: v for k, v in changes.items() if k not in ("number", "subject", "weights")}
        arrays = weights_of(one, changes.get("weights", lambda w: w))
        return one.coordinator.train(subject=subject, arrays=arrays, **others)

    return ask
