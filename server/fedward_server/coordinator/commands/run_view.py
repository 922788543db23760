"""One run of a coordinator's home as its folder tells it, also while it is under way.

The journal is read without its lock, so nobody who looks at a run keeps it from going on. A line
that is being written counts once it is whole.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_common.errors import ConfigurationError, CorruptFileError, FedwardError
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_common.wire.manifest import Manifest, decode_manifest
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.run_journal import ENTRIES_FILE, RunHistory, replay
from fedward_server.coordinator.run_queue import in_order
from fedward_server.coordinator.run_setup import has_run
from fedward_server.coordinator.run_stop import is_stopped
from fedward_server.coordinator.waiting import waited_for

if TYPE_CHECKING:
    from fedward_server.coordinator.flower_control import OrderedRun

Entry = dict[str, Any]

_MANIFEST = "manifest.cbor"
_START = "0" * 64
_MOST_NAMED = 3
# Less of an id is a name rather than an id.
_ID_BEGINS = re.compile(r"[0-9a-f]{4,64}")


@dataclass(frozen=True)
class RunView:
    """What there is to see of a run.

    Attributes:
        is_stopped: A person stopped it.
        head: SHA-256 of the journal's last line; 64 zeros where there is none.
    """

    name: str
    folder: Path
    manifest: Manifest
    job: Job
    entries: tuple[Entry, ...]
    history: RunHistory
    is_stopped: bool
    head: str = _START


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        word: `finished`, `stopped`, `running`, `queued`, `failed`, or `waiting` for a coordinator.
        code: Why it failed; else empty.
        place: In the queue, from 1; None where it is not queued.
        after: Runs that end before it begins: the one under way, then those queued before it.
    """

    word: str
    code: str = ""
    place: int | None = None
    after: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All of it, for a person."""
        if self.after:
            named = ", ".join(self.after[:_MOST_NAMED])
            more = len(self.after) - _MOST_NAMED
            return f"{self.word} at place {self.place} after {named}" + (
                f" and {more} more" if more > 0 else ""
            )
        return f"{self.word} ({self.code})" if self.code else self.word


def view_of(home: CoordinatorHome, name: str) -> RunView:
    """Read a run.

    Raises:
        ConfigurationError: There is none of this name.
        CorruptFileError: Its journal was changed.
        MalformedMessageError: Its manifest was.
    """
    folder = home.run_folder(name)
    if not has_run(folder):
        raise ConfigurationError(
            f"{home.runs} has no run {name!r}", hint="fedward runs lists those that are there"
        )
    manifest = decode_manifest((folder / _MANIFEST).read_bytes(), as_record=True)
    entries, head = lines_in(folder)
    history = replay(entries)
    return RunView(name, folder, manifest, manifest.job, entries, history, is_stopped(folder), head)


def name_of_run(home: CoordinatorHome, called: str) -> str:
    """Give the name of a run that is called by it, or by the beginning of its id at hospitals.

    What is neither is given back as it is: whoever looks for it says that it is not there.

    Raises:
        ConfigurationError: Several runs have such an id.
    """
    if not _ID_BEGINS.fullmatch(called) or has_run(home.run_folder(called)):
        return called
    views = [view for view in views_in(home).values() if isinstance(view, RunView)]
    fitting = [view.name for view in views if view.manifest.run.startswith(called)]
    if len(fitting) > 1:
        raise ConfigurationError(
            f"the ids of {', '.join(fitting)} begin with {called!r}", hint="give the run's name"
        )
    return fitting[0] if fitting else called


def names_of_runs(home: CoordinatorHome) -> list[str]:
    """Give the names of all runs, the one laid down last at the end."""
    if not home.runs.is_dir():
        return []
    begun = []
    for folder in home.runs.iterdir():
        with contextlib.suppress(OSError, ConfigurationError):
            home.run_folder(folder.name)
            begun.append(((folder / _MANIFEST).stat().st_mtime, folder.name))
    return [name for _, name in sorted(begun)]


def views_in(home: CoordinatorHome) -> Mapping[str, RunView | FedwardError]:
    """Read every run; one that cannot be read is given as its error."""
    found: dict[str, RunView | FedwardError] = {}
    for name in names_of_runs(home):
        try:
            found[name] = view_of(home, name)
        except FedwardError as error:
            found[name] = error
    return found


def lines_in(folder: Path) -> tuple[tuple[Entry, ...], str]:
    """Read the whole lines of a journal, and give the SHA-256 of the last as well.

    Raises:
        CorruptFileError: A line does not follow from the one before.
    """
    path = folder / ENTRIES_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return (), _START
    entries, previous = [], _START
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.split(b"\n")[:-1], start=1):
        entry = _entry_of(line)
        if entry.get("previous") != previous or not isinstance(entry.get("kind"), str):
            raise CorruptFileError(
                f"{path} line {number} was changed after it was written, or one before it",
                hint="restore the file; the run cannot go on without it",
            )
        entries.append(entry)
        previous = hashlib.sha256(line).hexdigest()
    return tuple(entries), previous


def _entry_of(line: bytes) -> Entry:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return entry if isinstance(entry, dict) else {}


def state_of(view: RunView, ordered: "Mapping[str, OrderedRun] | None") -> RunState:
    """Say where a run stands.

    Args:
        view: Of the run.
        ordered: What the coordinator's process was asked for; None where none runs.
    """
    if view.history.finished:
        return RunState("finished")
    if view.is_stopped:
        return RunState("stopped")
    order = (ordered or {}).get(view.name)
    if order is None:
        return RunState("waiting")
    if order.is_open:
        return RunState("running") if order.is_running else _queued(view, ordered or {})
    return RunState("failed", order.code or "FAILED")


def waited_for_in(view: RunView, state: RunState) -> dict[SiteId, str]:
    """Give whom a run that is under way waits for, each with a code.

    Of any other run the record is of the moment in which it was killed.
    """
    return waited_for(view.folder) if state.word == "running" else {}


def _queued(view: RunView, ordered: "Mapping[str, OrderedRun]") -> RunState:
    runs = view.folder.parent
    others = [name for name, order in ordered.items() if order.is_open and name != view.name]
    going = [name for name in others if not is_stopped(runs / name)]
    running = [name for name in going if ordered[name].is_running]
    waiting = [runs / name for name in going if name not in running]
    queue = in_order([*waiting, view.folder])
    before = [folder.name for folder in queue[: queue.index(view.folder)]]
    return RunState("queued", place=len(before) + 1, after=(*running, *before))
