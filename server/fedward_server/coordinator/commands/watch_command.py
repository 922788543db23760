"""`fedward watch`: a run's journal as it grows, until the run ends."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fedward_common.errors import FedwardError, StoppedError
from fedward_common.identities import SiteId
from fedward_server.coordinator.commands.live_coordinator import orders_at
from fedward_server.coordinator.commands.run_view import (
    Entry,
    RunState,
    RunView,
    state_of,
    view_of,
    waited_for_in,
)
from fedward_server.coordinator.commands.runs_command import told_text
from fedward_server.coordinator.commands.shown import print_line
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_journal import replay
from fedward_server.coordinator.waiting import words_of

if TYPE_CHECKING:
    from fedward_server.coordinator.flower_control import OrderedRun

_LOOK_SECONDS = 1.0
# Sums are long, and are what figures were made of.
_NOT_SHOWN = ("index", "previous", "sums", "passed_over")

Orders = Callable[[], "Mapping[str, OrderedRun] | None"]


def run_watch(
    home: CoordinatorHome,
    name: str,
    *,
    json_output: bool,
    orders: Orders | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Print each entry of a run's journal once, from its first, until the run ends.

    Args:
        home: Of the coordinator.
        name: Of the run.
        json_output: One JSON object a line.
        orders: Asks the coordinator's process; None there where none runs.
        wait: Waits for so many seconds.

    Raises:
        ConfigurationError: There is no such run.
        FedwardError: `RUN_FAILED`.
        StoppedError: A person stopped it, or this command.
    """
    ask = orders or (lambda: orders_at(home))
    num_shown, last_state = 0, RunState("")
    waits: Mapping[SiteId, str] = {}
    try:
        while True:
            # Asked first: a run that is finished is then seen to be so in its journal.
            ordered = ask()
            view = view_of(home, name)
            for entry in view.entries[num_shown:]:
                _show(entry, view, json_output=json_output)
            num_shown = len(view.entries)
            state = state_of(view, ordered)
            if state != last_state:
                _show_state(name, state, json_output=json_output)
                last_state = state
            if _has_ended(name, state.word, state.code):
                return
            if waits != (waits := waited_for_in(view, state)):
                _show_waits(name, waits, json_output=json_output)
            wait(_LOOK_SECONDS)
    except KeyboardInterrupt as interrupt:
        raise StoppedError(
            f"run {name!r} is no longer watched", hint="the run itself goes on"
        ) from interrupt


def _has_ended(name: str, word: str, code: str) -> bool:
    if word == "failed":
        raise FedwardError(
            f"run {name!r} failed: {code}",
            hint="the coordinator's log says more; mend it and go on: "
            f"fedward launch --resume --name {name}",
            code="RUN_FAILED",
        )
    if word == "stopped":
        raise StoppedError(
            f"run {name!r} is stopped", hint=f"go on: fedward launch --resume --name {name}"
        )
    return word == "finished"


def _show_state(name: str, state: RunState, *, json_output: bool) -> None:
    word = state.word
    if json_output:
        turn = {} if state.place is None else {"place": state.place, "after": list(state.after)}
        _write_json({"kind": "state", "run": name, "state": word} | turn)
    else:
        meaning = " for a coordinator: fedward coordinator start" if word == "waiting" else ""
        shown = state.text if word == "queued" else word
        print_line(f"{name} is {shown}{meaning}")


def _show_waits(name: str, sites: Mapping[SiteId, str], *, json_output: bool) -> None:
    if json_output:
        _write_json({"kind": "waiting", "run": name, "sites": dict(sites)})
    elif sites:
        print_line(f"waiting for {words_of(sites)}")


def _show(entry: Entry, view: RunView, *, json_output: bool) -> None:
    if json_output:
        _write_json(_without_sums(entry))
    else:
        print_line(line_of(entry, view))


def _without_sums(entry: Entry) -> Entry:
    return {
        key: _without_sums(value) if isinstance(value, dict) else value
        for key, value in entry.items()
        if key not in _NOT_SHOWN
    }


def _write_json(content: Entry) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def line_of(entry: Entry, view: RunView) -> str:
    """Give an entry as a line for a person."""
    kind = str(entry["kind"])
    parts = [_head_of(kind, entry, view)]
    if evaluation := entry.get("evaluation"):
        metric = view.job.selection_metric
        value = (evaluation["figures"].get(metric) or {}).get("value")
        shown = "undefined" if value is None else f"{value:.4f}"
        best = ", the best so far" if entry.get("best") else ""
        parts.append(f"round {evaluation['round']} has {metric} {shown}{best}")
    if failures := entry.get("failures"):
        parts.append(", ".join(f"{one['site']}: {one['code']}" for one in failures))
    return "; ".join(parts)


def _head_of(kind: str, entry: Entry, view: RunView) -> str:
    rounds = view.job.job.rounds
    if kind == "run.accepted":
        return f"accepted by {', '.join(sorted(entry['accepted']))}"
    if kind == "round.committed":
        sites = entry["participants"]
        return f"round {entry['round']} of {rounds}: {', '.join(sites)}"
    if kind == "round.abandoned":
        return f"round {entry['round']} of {rounds}: attempt {entry['attempt']} failed"
    if kind == "round.dropped":
        return f"round {entry['round']} of {rounds} is left out{_why_rejected(entry)}"
    if kind == "evaluation.final":
        return f"test patients evaluated by {', '.join(entry['final']['sites'])}"
    if kind == "result.told":
        return f"result told to {told_text(replay((entry,)))}"
    return _HEADS.get(kind, kind)


def _why_rejected(entry: Entry) -> str:
    found = entry.get("hold_out")
    if found is None:
        return ""
    value = "not finite" if found["value"] is None else f"{found['value']:.4f}"
    return f": {found['metric']} {value} on the hold-out set, {found['value_before']:.4f} before"


_HEADS = {
    "run.rewound": "a checkpoint is damaged; going back to the one before",
    "run.stopped-early": "stopped early: no better evaluation came",
    "evaluation.validation": "last weights evaluated",
    "acceptance.abandoned": "too few sites accept the run",
    "evaluation.abandoned": "an attempt at an evaluation failed",
    "evaluation.lost": "the sums of an evaluation are lost",
    "run.finished": "finished",
}
