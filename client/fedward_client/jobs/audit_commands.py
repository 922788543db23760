"""What `fedward-site audit show` does and prints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.registered.cohort_work import open_site_home
from fedward_client.daemon.audit import REPLAY, audit_lines
from fedward_client.jobs.commands import moment, print_json, say
from fedward_client.jobs.refusal_words import words_of_refusal
from fedward_common.command_line import printable

_ASKED = {
    "manifest.query": "the job",
    "train.round": "train",
    "evaluate.weights": "evaluate",
    "secure.step": "masked sum",
    "run.result": "the result",
}


def show_audit(home_folder: Path, run: str | None, last: int, *, json_output: bool) -> None:
    """Say what was refused, asked again and decided last, in the order of time.

    Args:
        home_folder: Of the site.
        run: Only of runs whose name begins so.
        last: At most so many entries.
        json_output: Whether for a program.

    Raises:
        CorruptFileError: A line of the record was changed.
    """
    written, counted = audit_lines(open_site_home(home_folder))
    wanted = [one for one in (*written, *counted) if run is None or _is_of(one, run)]
    entries = sorted(wanted, key=_seconds_of)[-last:]
    if json_output:
        not_shown = len(wanted) - len(entries)
        print_json({"entries": [_plain(one) for one in entries], "not_shown": not_shown})
        return
    if not entries:
        say("Nothing was refused or decided yet.")
        return
    _show_entries(entries)
    _show_words(sorted({str(one["code"]) for one in entries if "code" in one}))
    if len(wanted) > last:
        say(f"{len(wanted) - last} earlier entries are not shown: --last {len(wanted)}")


def _is_of(entry: dict[str, Any], run: str) -> bool:
    return bool(run) and str(entry.get("run", "")).startswith(run)


def _seconds_of(entry: dict[str, Any]) -> float:
    """Give when it was; of what is counted, when it came last."""
    return float(entry.get("last_utc_seconds", entry.get("utc_seconds", 0.0)))


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    if "code" not in entry:
        return entry
    words = words_of_refusal(entry["code"])
    return entry | {"meaning": words.meaning, "advice": words.advice}


def _show_entries(entries: Sequence[dict[str, Any]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("time (UTC)", no_wrap=True)
    table.add_column("run", no_wrap=True)
    table.add_column("what", overflow="fold")
    table.add_column("code", no_wrap=True)
    table.add_column("times", justify="right", no_wrap=True)
    for one in entries:
        time = moment(_seconds_of(one)).removesuffix(" UTC")
        texts = (time, str(one.get("run", ""))[:8], _what(one), str(one.get("code", "")))
        table.add_row(*(escape(printable(text)) for text in (*texts, _times(one))))
    Console(highlight=False).print(table)


def _what(entry: dict[str, Any]) -> str:
    if "decision" in entry:
        return f"{entry['decision']} by {entry.get('by', '')}"
    if "membership" in entry:
        return f"membership: {entry['membership']}"
    if "told" in entry:
        return f"told the {entry['told']}"
    if "order" in entry:
        return f"an order of {entry.get('by', '')}"
    if "left_out" in entry:
        return _left_out(entry)
    if "unbelieved" in entry:
        return f"{entry['unbelieved'] or 'a message'}, not believed"
    return _asked(entry) + (f": {entry['note']}" if "note" in entry else "")


def _left_out(entry: dict[str, Any]) -> str:
    who = entry.get("from", "")
    what = "repetitions" if entry.get("code") == REPLAY else "refusals"
    return f"more {what} of {'an' if who == 'account' else 'a'} {who}, not listed"


def _asked(entry: dict[str, Any]) -> str:
    """Say what a coordinator asked for; lines of an earlier release lack the kind."""
    kind, step = entry.get("kind", ""), entry.get("step", "")
    what = _ASKED.get(kind, "another message")
    if step and step not in ("accept", "ready"):
        what = f"{step} of a masked sum"
    elif "kind" not in entry:
        what = "the job" if step == "accept" else str(entry.get("purpose", ""))
    number = entry.get("round", 0)
    return f"{what}, round {number}" if number else what


def _times(entry: dict[str, Any]) -> str:
    return f"{int(entry.get('times', entry.get('left_out', 1))):,}"


def _show_words(codes: Sequence[str]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for code in codes:
        words = words_of_refusal(code)
        table.add_row(escape(printable(code)), escape(f"{words.meaning}.\nDo: {words.advice}."))
    Console(highlight=False).print(table)
