"""`fedward runs` and `fedward status`: what there is, and how far it is."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fedward_common.errors import FedwardError
from fedward_common.patient_bands import PatientBand
from fedward_server.coordinator.commands.live_coordinator import orders_at
from fedward_server.coordinator.commands.run_view import (
    RunState,
    RunView,
    state_of,
    view_of,
    views_in,
    waited_for_in,
)
from fedward_server.coordinator.commands.shown import (
    print_json,
    print_line,
    print_pairs,
    print_table,
)
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_journal import RunHistory
from fedward_server.coordinator.waiting import words_of
from fedward_server.reports.participation import code_meaning

if TYPE_CHECKING:
    from fedward_server.coordinator.flower_control import OrderedRun

Orders = Callable[[CoordinatorHome], "Mapping[str, OrderedRun] | None"]
_MOST_FAILURES = 10


def run_runs(home: CoordinatorHome, *, json_output: bool, orders: Orders = orders_at) -> None:
    """Print every run, the newest last; one that cannot be read is named with its code."""
    ordered = orders(home)
    rows = [
        _unreadable(name, view) if isinstance(view, FedwardError) else summary_of(view, ordered)
        for name, view in views_in(home).items()
    ]
    if json_output:
        print_json(rows)
    elif not rows:
        print_line("No run yet; begin: fedward launch JOB.toml --sites A,B,C")
    else:
        print_table(
            ("run", "job", "state", "rounds", "sites"),
            (
                (
                    row["run"],
                    row["job"] or "",
                    _state_text(row),
                    f"{row['rounds_completed']} of {row['rounds']}" if row["job"] else "",
                    len(row["training_sites"]) or "",
                )
                for row in rows
            ),
        )


def run_status(
    home: CoordinatorHome, name: str, *, json_output: bool, orders: Orders = orders_at
) -> None:
    """Print how far one run is.

    Raises:
        ConfigurationError: There is no such run.
        CorruptFileError: Its journal was changed.
    """
    view = view_of(home, name)
    status = status_of(view, orders(home))
    if json_output:
        print_json(status)
        return
    _print_status(status, view)


def summary_of(view: RunView, ordered: "Mapping[str, OrderedRun] | None") -> dict[str, Any]:
    """Give one run's line of `fedward runs --json`."""
    state = state_of(view, ordered)
    return {
        "run": view.name,
        "run_id": view.manifest.run,
        "job": view.job.job.name,
        "state": state.word,
        "code": state.code,
        "place": state.place,
        "after": list(state.after),
        "waiting_for": waited_for_in(view, state),
        "rounds_completed": len(view.history.checkpoints),
        "rounds": view.job.job.rounds,
        "training_sites": list(view.manifest.training_sites),
    }


def status_of(view: RunView, ordered: "Mapping[str, OrderedRun] | None") -> dict[str, Any]:
    """Give what `fedward status --json` prints: nothing but what the coordinator may know."""
    history, best = view.history, view.history.best
    return summary_of(view, ordered) | {
        "accepted": {
            site: {
                "band": str(PatientBand(terms["band_low"], terms["band_high"])),
                "unit": terms["unit"],
                "trains": terms["trains"],
            }
            for site, terms in sorted(history.accepted.items())
        },
        "last_participants": history.participants[-1] if history.participants else [],
        "rounds_left_out": [n for n, s in enumerate(history.participants, start=1) if not s],
        "failures": history.failures,
        "best": {
            "round": best["round"],
            "metric": view.job.selection_metric,
            "value": best["value"],
        }
        if best
        else None,
        "stopped_early": history.stopped_early,
        "test_evaluated": history.final is not None,
        "told": sorted(history.receipts or ()),
        "untold": history.untold,
        "seconds": history.seconds,
    }


def told_text(history: RunHistory) -> str:
    """Say who was told a run's result, and why others were not."""
    told = ", ".join(sorted(history.receipts or ())) or "nobody"
    return told + "".join(f"; not {site}: {code}" for site, code in history.untold.items())


def _unreadable(name: str, error: FedwardError) -> dict[str, Any]:
    return {
        "run": name,
        "run_id": None,
        "job": None,
        "state": "unusable",
        "code": error.code,
        "place": None,
        "after": [],
        "waiting_for": {},
        "rounds_completed": 0,
        "rounds": 0,
        "training_sites": [],
    }


def _state_text(row: Mapping[str, Any]) -> str:
    return RunState(row["state"], row["code"], row["place"], tuple(row["after"])).text


def _print_status(status: Mapping[str, Any], view: RunView) -> None:
    best = status["best"]
    value = best and best["value"]
    rows: list[tuple[str, object]] = [
        ("run", f"{status['run']} ({status['run_id']})"),
        ("job", status["job"]),
        ("state", _state_text(status)),
        ("rounds", f"{status['rounds_completed']} of {status['rounds']}"),
        ("time", f"{status['seconds']:.0f} s"),
    ]
    if status["waiting_for"]:
        rows.append(("waiting for", words_of(status["waiting_for"])))
    if best and value is not None:
        rows.append(("best", f"round {best['round']}: {best['metric']} {value:.4f}"))
    if status["last_participants"]:
        rows.append(("last round", ", ".join(status["last_participants"])))
    if status["told"] or status["untold"]:
        rows.append(("result told to", told_text(view.history)))
    print_pairs(rows)
    if status["accepted"]:
        print_table(
            ("site", "training patients", "unit", "trains"),
            (
                (site, terms["band"], terms["unit"], "yes" if terms["trains"] else "evaluates only")
                for site, terms in status["accepted"].items()
            ),
        )
    _print_failures(view.history.failures)


def _print_failures(failures: list[dict[str, Any]]) -> None:
    for failure in failures[-_MOST_FAILURES:]:
        where = f"round {failure['round']}" if failure["round"] else "acceptance"
        meaning = code_meaning(failure["code"])
        told = f"{where}: {failure['site']}: {failure['code']}"
        print_line(f"{told}: {meaning}" if meaning else told)
    if len(failures) > _MOST_FAILURES:
        print_line(f"({len(failures) - _MOST_FAILURES} earlier ones: --json)")
