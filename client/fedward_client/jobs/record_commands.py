"""What `fedward-site status | audit verify | egress` do and print."""

import dataclasses
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.registered.cohort_work import open_site_home
from fedward_client.daemon.audit import verified_audit
from fedward_client.enrolment.membership_display import membership_lines
from fedward_client.jobs.commands import moment, print_json, say
from fedward_client.jobs.egress_record import egress_of
from fedward_client.jobs.job_store import find_job
from fedward_client.jobs.order_socket import do
from fedward_client.jobs.orders import Order
from fedward_client.jobs.result_proof import verify_told_results
from fedward_common.command_line import printable


def show_status(home_folder: Path, *, json_output: bool) -> None:
    """Say whether the daemon runs, what it may do, and what waits for somebody."""
    shown = do(open_site_home(home_folder), Order("status"))
    if json_output:
        print_json(shown)
        return
    paused, states, waits = shown["paused"], shown["jobs"], shown["roster_waits"]
    say(f"Site {shown['site']!r} of {shown['consortium']!r}, cohort {shown['cohort']!r}.")
    say(f"The daemon {'runs' if shown['daemon_runs'] else 'does not run: fedward-site start'}.")
    if shown["health"] is not None:
        _show_health(shown["health"])
    if paused is not None:
        say(f"PAUSED by {paused['by']}, {moment(paused['utc_seconds'])}: fedward-site resume")
    counted = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    say(f"Jobs: {counted or 'none'}; approval: {shown['approval']}.")
    if states.get("waiting"):
        say("Jobs wait for a decision: fedward-site jobs")
    if waits is not None:
        say(f"New members wait: fedward-site roster --accept {waits}")
    for line in membership_lines(shown["membership"]):
        say(line)


def _show_health(health: dict[str, Any]) -> None:
    wrong = {name: code for name, code in health["conditions"].items() if code}
    if not wrong:
        say("All is well: the conditions of /healthz hold.")
    for name, code in sorted(wrong.items()):
        say(f"NOT WELL: {name} ({code})")
    if wrong.get("clock"):
        offset = health["figures"]["clock_offset_seconds"]
        say(
            f"This machine's clock is {abs(offset)} s {'ahead of' if offset > 0 else 'behind'} "
            "the coordinator's: set it right, best by NTP. Until then no node connects."
        )


def verify_audit(home_folder: Path, *, json_output: bool) -> None:
    """Read the whole audit log, and say whether it and the results in it are as they were written.

    Raises:
        CorruptFileError: They are not.
        LedgerDamagedError: The ledger is not the one that a receipt vouches for.
    """
    home = open_site_home(home_folder)
    num_lines, head = verified_audit(home)
    num_results = verify_told_results(home)
    if json_output:
        print_json({"sound": True, "lines": num_lines, "head": head, "results": num_results})
        return
    say(f"The audit log is sound: {num_lines} lines{f', head {head}' if head else ''}.")
    if num_results:
        say(f"The coordinator signed each of {num_results} results, and log and ledger fit them.")
    say("Keep the head elsewhere: the log cannot say whether its last lines were cut off.")


def show_egress(home_folder: Path, run: str | None, *, json_output: bool) -> None:
    """Say what left, by run and kind, in bytes."""
    home = open_site_home(home_folder)
    named = None if run is None else find_job(home, run).run
    lines, num_unreadable = egress_of(home, named)
    if json_output:
        plain = [dataclasses.asdict(line) for line in lines]
        print_json({"left": plain, "unreadable_lines": num_unreadable})
        return
    if not lines:
        say("Nothing has left.")
    else:
        _show_egress(lines)
    if num_unreadable:
        say(f"{num_unreadable} lines of the record cannot be read: what they listed is not here.")


def _show_egress(lines: list[Any]) -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("run", "kind", "part"):
        table.add_column(name, overflow="fold")
    for name in ("times", "bytes"):
        table.add_column(name, justify="right")
    for line in lines:
        texts = (line.run[:12], line.kind, line.part, f"{line.count:,}", f"{line.num_bytes:,}")
        table.add_row(*(escape(printable(one)) for one in texts))
    Console(highlight=False).print(table)
    say(f"In all: {sum(line.num_bytes for line in lines):,} bytes of signed answers.")
