"""Looks up what `health` says about a coordinator: in its home, and at its own listeners.

Journals are read without their lock, and again only where they grew.
"""

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from fedward_common.errors import CorruptFileError, FedwardError
from fedward_common.health_report import HealthReport
from fedward_server.coordinator.commands.run_view import RunView, names_of_runs, state_of, view_of
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import OrderedRun
from fedward_server.coordinator.health import CoordinatorFacts, RunFacts, coordinator_report
from fedward_server.coordinator.run_journal import ENTRIES_FILE
from fedward_server.coordinator.run_setup import roster_beside
from fedward_server.coordinator.tls_certificate import days_left

_DAY_SECONDS = 86_400.0
_PROBE = ".written-by-health"


class Flower(Protocol):
    """What is asked of the SuperLink of this process."""

    def nodes(self) -> Mapping[bytes, int]:
        """Give the registered nodes."""
        ...

    def online_nodes(self) -> frozenset[bytes]:
        """Give the connected ones."""
        ...

    def ordered_runs(self) -> Mapping[str, OrderedRun]:
        """Give the last order of each run."""
        ...


class CoordinatorWatch:
    """One coordinator, as its own process sees it.

    Args:
        home: Of the coordinator.
        flower: Asked over the listener on loopback.
        call_failed: What such a question raises where nobody answers.
        serving: Gives whether each part of the process works, by the name of its condition.
        utc_seconds: Gives seconds since 1970.
        duplicate_nodes: Gives how often a second node showed a site's key, by site.
    """

    def __init__(
        self,
        home: CoordinatorHome,
        flower: Flower,
        call_failed: tuple[type[Exception], ...],
        serving: Callable[[], Mapping[str, bool]],
        utc_seconds: Callable[[], float],
        duplicate_nodes: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self._home = home
        self._flower = flower
        self._call_failed = call_failed
        self._serving = serving
        self._utc_seconds = utc_seconds
        self._duplicate_nodes = duplicate_nodes
        self._views: dict[str, tuple[object, RunView | FedwardError]] = {}
        self._one_at_a_time = threading.Lock()

    def report(self) -> HealthReport:
        """Look once; threads take turns."""
        with self._one_at_a_time:
            return coordinator_report(self.facts())

    def facts(self) -> CoordinatorFacts:
        """Look everything up."""
        now = self._utc_seconds()
        registered, connected, ordered, flower_code = self._ask_flower()
        tls_code, tls_ends = self._tls(now)
        roster_code, roster_ends = self._roster(now)
        views = {name: self._view(name) for name in names_of_runs(self._home)}
        unreadable = [view.code for view in views.values() if isinstance(view, FedwardError)]
        readable = [view for view in views.values() if not isinstance(view, FedwardError)]
        parts = {name: "" if works else "ENDED" for name, works in self._serving().items()}
        return CoordinatorFacts(
            utc_seconds=now,
            codes={
                **parts,
                "superlink": flower_code,
                "tls_certificate": tls_code,
                "roster": roster_code,
                "journals": unreadable[0] if unreadable else "",
                "journal_folder": _code_of_writing(self._home.runs),
            },
            runs=tuple(_facts_of(view, state_of(view, ordered).word) for view in readable),
            num_registered=registered,
            num_connected=connected,
            tls_ends_utc_seconds=tls_ends,
            roster_ends_utc_seconds=roster_ends,
            free_bytes=_free_bytes(self._home.folder),
            duplicate_nodes=self._duplicate_nodes(),
        )

    def _ask_flower(
        self,
    ) -> tuple[int | None, int | None, Mapping[str, OrderedRun] | None, str]:
        try:
            ordered = self._flower.ordered_runs()
            return len(self._flower.nodes()), len(self._flower.online_nodes()), ordered, ""
        except self._call_failed as error:
            return None, None, None, type(error).__name__

    def _tls(self, now: float) -> tuple[str, float | None]:
        try:
            file = self._home.file_of(self._home.settings().certificate_file)
            return "", now + _DAY_SECONDS * days_left(file, now_seconds=now)
        except FedwardError as error:
            return error.code, None

    def _roster(self, now: float) -> tuple[str, float | None]:
        try:
            content = self._home.roster_file.read_bytes()
            roster = roster_beside(self._home.key_file, content, now_seconds=now)
        except FedwardError as error:
            return error.code, None
        except OSError:
            return "UNREADABLE", None
        return "", float(roster.issued_at_seconds + roster.max_age_seconds)

    def _view(self, name: str) -> RunView | FedwardError:
        folder = self._home.run_folder(name)
        seen = _state_of_files(folder)
        known = self._views.get(name)
        if known is None or known[0] != seen:
            known = seen, _view_or_error(self._home, name)
            self._views[name] = known
        return known[1]


def _view_or_error(home: CoordinatorHome, name: str) -> RunView | FedwardError:
    try:
        return view_of(home, name)
    except FedwardError as error:
        return error
    except OSError:
        return CorruptFileError(f"run {name} cannot be read")


def _state_of_files(folder: Path) -> object:
    found: list[tuple[int, ...]] = []
    for name in (ENTRIES_FILE, "manifest.cbor", "stopped.json"):
        try:
            state = (folder / name).stat()
            found.append((state.st_ino, state.st_size, state.st_mtime_ns))
        except OSError:
            found.append(())
    return found


def _facts_of(view: RunView, state: str) -> RunFacts:
    history = view.history
    committed = None
    if history.checkpoints:
        # Written in the moment before the journal names it; the last one is never removed.
        with contextlib.suppress(OSError):
            committed = (view.folder / history.checkpoints[-1][1]).stat().st_mtime
    contributed = [sites for sites in history.participants if sites]
    return RunFacts(
        name=view.name,
        state=state,
        num_accepted=len(history.accepted),
        num_contributed=len(contributed[-1]) if contributed else 0,
        num_rounds=len(history.checkpoints),
        committed_utc_seconds=committed,
    )


def _code_of_writing(folder: Path) -> str:
    """Try it: a disk that turned read-only, or is full, says so only then."""
    probe = folder / _PROBE
    try:
        with probe.open("wb") as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
        probe.unlink()
    except OSError:
        return "NOT_WRITABLE"
    return ""


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
