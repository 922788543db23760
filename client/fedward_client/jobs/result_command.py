"""`fedward-site result`: what a run gave this hospital, and what it cost its patients."""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedward_client.cohorts.registered.cohort_work import open_site_home
from fedward_client.jobs.commands import print_json, say
from fedward_client.jobs.job_store import find_job
from fedward_client.jobs.own_result import OwnResult, Spent, own_result
from fedward_common.command_line import printable
from fedward_common.evaluation.figures import Figure
from fedward_common.evaluation.operating_points import Threshold
from fedward_common.wire.run_result import PooledFigure, RunResult

_COLUMNS = 80

Figures = Mapping[str, Figure]


def show_result(home_folder: Path, run: str, *, json_output: bool) -> None:
    """Say what a run gave this hospital, and what it cost its patients."""
    home = open_site_home(home_folder)
    job = find_job(home, run)
    result = own_result(home, job)
    if json_output:
        head = {"run": job.run, "state": job.state, "own": _plain(result.own)}
        spent = None if result.spent is None else dataclasses.asdict(result.spent)
        print_json(head | {"pooled": _plain_told(result.told), "spent": spent})
        return
    _say(f"Run {job.run}: {job.state}")
    _show_told(result.told)
    pooled = _figures(result.told.test) if result.told else {}
    if pooled or result.own:
        _show_figures(pooled, result.own or {})
    _show_own(result)
    _show_spent(result.spent)


def _say(text: str) -> None:
    for line in textwrap.wrap(text, _COLUMNS):
        say(line)


def _figures(told: Mapping[str, PooledFigure]) -> dict[str, Figure]:
    return {name: Figure(**vars(figure)) for name, figure in told.items()}


def _plain(figures: Figures | None) -> dict[str, Any] | None:
    return None if figures is None else {name: one.to_dict() for name, one in figures.items()}


def _plain_told(told: RunResult | None) -> dict[str, Any] | None:
    if told is None:
        return None
    return vars(told) | {
        "test": _plain(_figures(told.test)),
        "validation": _plain(_figures(told.validation)),
        "thresholds": _probabilities(told),
    }


def _probabilities(told: RunResult) -> dict[str, float]:
    edges = told.threshold_bin_edges.items()
    return {name: Threshold(edge).probability for name, edge in edges}


def _show_told(told: RunResult | None) -> None:
    if told is None:
        _say("No pooled figures yet: the coordinator sends them at the run's end.")
        return
    _say(
        f"Told by the coordinator: {told.rounds_committed} rounds in the model, tested with the "
        f"weights of round {told.selected_round} at {told.num_sites} sites."
    )
    if not told.test:
        _say(
            "Their pooled figures are not told: of so few, each could take its own off and have "
            "the others'."
        )


def _show_figures(pooled: Figures, own: Figures) -> None:
    table = Table(
        box=box.SIMPLE_HEAD, title="Test patients", title_justify="left", padding=(0, 1, 0, 0)
    )
    table.add_column("figure", overflow="fold")
    groups = [(name, them) for name, them in (("pooled", pooled), ("own", own)) if them]
    for name, _ in groups:
        for title in (name, "95 % interval", "cases"):
            table.add_column(title, justify="right", no_wrap=True)
    for name in [*own, *sorted(pooled.keys() - own.keys())]:
        cells = [cell for _, them in groups for cell in _cells(them.get(name))]
        table.add_row(escape(printable(name)), *(escape(cell) for cell in cells))
    Console(highlight=False).print(table)
    for whose, them in groups:
        for name, one in them.items():
            if one.value is None:
                _say(f"{whose} {printable(name)}: {printable(one.reason or 'not defined')}")


def _cells(figure: Figure | None) -> tuple[str, str, str]:
    if figure is None:
        return "", "", ""
    if figure.value is None:
        return "n/a", "", str(figure.support)
    interval = "" if figure.low is None else f"{figure.low:.3f}-{figure.high:.3f}"
    return f"{figure.value:.3f}", interval, str(figure.support)


def _show_own(result: OwnResult) -> None:
    if result.own is None:
        _say("Its model was not tested on this site's patients yet.")
        return
    told = result.told
    if told is not None and told.threshold_bin_edges:
        drawn = ", ".join(f"{printable(n)} {p:.4f}" for n, p in _probabilities(told).items())
        _say(f"Thresholds, chosen on pooled validation patients: {drawn}.")
    elif told is None:
        _say("Classes are told apart at probability 0.5.")
    _say("The own figures are for this hospital's own eyes and leave it nowhere.")


def _show_spent(spent: Spent | None) -> None:
    if spent is None:
        _say("The privacy ledger has nothing of this run: no patient was trained on.")
        return
    cost = (
        "no bound: it trains without differential privacy"
        if spent.epsilon is None
        else f"epsilon {spent.epsilon:.3f} at delta {spent.delta:g}"
    )
    more = "nothing more can be spent" if spent.is_over else "the run can still spend"
    _say(
        f"Spent of each of {spent.num_patients} training patients: {cost}, in "
        f"{spent.attempts_begun} rounds begun; {more}."
    )
