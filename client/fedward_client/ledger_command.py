"""What `fedward-site ledger ...` does and prints: exact figures for the hospital's own eyes."""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.registered.cohort_work import open_site_home
from fedward_client.ledger.ledger_folder import ledger_folder
from fedward_client.ledger.override import Signatures, assumed_charges, override_ledger
from fedward_client.ledger.site_ledger import open_ledger
from fedward_client.ledger.statement import LedgerStatement, RunStatement, statement_of
from fedward_client.ledger.utc_clock import SystemUtcClock, UtcClock
from fedward_client.site_home import SiteHome
from fedward_client.site_policy import read_policy
from fedward_common.command_line import printable
from fedward_common.errors import ConfigurationError

_WINDOWS = {"none": "all time", "calendar-year": "this year, UTC"}
_CLOCK = SystemUtcClock()


def show_ledger(
    home_folder: Path, cohort: str | None, *, json_output: bool, clock: UtcClock = _CLOCK
) -> None:
    """Show what each run has spent, and the most that any patient has.

    Raises:
        LedgerDamagedError: The ledger cannot be believed.
        LockedError: It is in use.
        ConfigurationError: No run is of this cohort.
    """
    home = open_site_home(home_folder)
    caps = read_policy(home).caps()
    if ledger_folder(home).is_unused():
        _show_unused(json_output)
        return
    with open_ledger(home, clock) as ledger:
        statement = statement_of(ledger, caps, cohort)
    if cohort is not None and not statement.runs and not statement.earlier_runs:
        raise ConfigurationError(
            f"no run of the ledger is of cohort {cohort!r}", hint="leave the name out to see all"
        )
    if json_output:
        _print_json(_plain(statement))
    else:
        _show(statement)


def verify_ledger(home_folder: Path, *, json_output: bool, clock: UtcClock = _CLOCK) -> None:
    """Read the whole ledger with every set of patients, and say whether it is sound.

    Raises:
        LedgerDamagedError: It is not.
    """
    home = open_site_home(home_folder)
    if ledger_folder(home).is_unused():
        _show_unused(json_output)
        return
    with open_ledger(home, clock) as ledger:
        ledger.verify()
        figures = {"entries": ledger.num_entries, "runs": len(ledger.accounts.runs)}
        head = ledger.head()
    if json_output:
        _print_json({"sound": True, **figures, "head": head})
        return
    Console(highlight=False, soft_wrap=True).print(
        f"The ledger is sound: {figures['entries']} entries, {figures['runs']} runs, head {head}"
    )


def override(
    home_folder: Path,
    signatures: Signatures,
    assumed_epsilon: float | None,
    *,
    json_output: bool,
    clock: UtcClock = _CLOCK,
) -> None:
    """Begin a new ledger in place of a damaged one.

    Raises:
        ConfigurationError: The ledger is sound, or the policy cannot be read.
        PrivacyError: The epsilon is no number to assume.
    """
    home: SiteHome = open_site_home(home_folder)
    assumed = assumed_charges(assumed_epsilon, read_policy(home).privacy.delta_total)
    entry = override_ledger(ledger_folder(home), clock, signatures, assumed, assumed_epsilon)
    if json_output:
        _print_json(
            {"at": entry.at, "found": entry.found, "assumed_epsilon": entry.assumed_epsilon}
        )
        return
    spent = "no bound left" if assumed_epsilon is None else f"spent epsilon {assumed_epsilon:g}"
    Console(highlight=False, soft_wrap=True).print(
        f"A new ledger was begun, signed by {escape(signatures.first)} and "
        f"{escape(signatures.second)}.\nEvery patient of this site counts as having {spent}; open "
        "runs cannot go on.\nThe old one was put aside in the ledger's folder."
    )


def _show_unused(json_output: bool) -> None:
    if json_output:
        _print_json({"runs": [], "most_spent": 0.0, "entries": 0})
    else:
        Console().print("No run has been reserved: nothing is spent.")


def _show(statement: LedgerStatement) -> None:
    console = Console(highlight=False)
    if statement.runs:
        console.print(_table_of(statement))
        console.print()
    if statement.earlier_runs:
        console.print(f"{statement.earlier_runs} earlier runs count no more.")
    if statement.overrides:
        console.print(f"The ledger was overridden {statement.overrides} times by two persons.")
    console.print(
        f"Allowed: epsilon {_shown(statement.epsilon_total)}; with what is reserved: "
        f"{_shown(statement.most_charged)}; counting {_WINDOWS[statement.window]}.\n"
        f"The most that any patient has spent: epsilon {_shown(statement.most_spent)} "
        f"at delta {statement.delta:g}.",
        soft_wrap=True,
    )


def _table_of(statement: LedgerStatement) -> Table:
    """Lay runs out so that 80 columns are enough: names under each other, figures beside them."""
    table = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    # A run has 32 characters; on a narrower terminal they go on in the next line.
    table.add_column("purpose, cohort, run", overflow="fold")
    for name in ("patients", "epsilon\nspent", "epsilon\nreserved", "epsilon\nleft"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for line in statement.runs:
        names = [escape(printable(one)) for one in (line.purpose, line.cohort, line.run)]
        if line.noise_drawn_on == "device":
            names.append("noise from the GPU (weaker)")
        epsilons = (line.epsilon_spent, line.epsilon_reserved, line.epsilon_left)
        table.add_row("\n".join(names), str(line.num_patients), *map(_shown, epsilons), line.state)
        table.add_section()
    return table


def _shown(epsilon: float) -> str:
    return "no bound" if math.isinf(epsilon) else f"{epsilon:.3f}"


def _plain(statement: LedgerStatement) -> dict[str, Any]:
    """Give JSON values; an epsilon without a bound is null."""
    table = dataclasses.asdict(statement)
    lines = [_plain_line(one) for one in statement.runs]
    return {key: _number(value) for key, value in table.items()} | {"runs": lines}


def _plain_line(line: RunStatement) -> dict[str, Any]:
    return {key: _number(value) for key, value in dataclasses.asdict(line).items()}


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=1) + "\n")
