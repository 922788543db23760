"""`fedward coordinator start`: one process that serves sites and runs runs, until SIGTERM.

At the start every run that is not over is ordered anew: whatever ended the process before, the same
folder goes on. What happens is told in lines of JSON on stdout; the first that counts is `ready`.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedward_common.clock import SystemClock
from fedward_common.errors import ConfigurationError, FedwardError, LockedError, StoppedError
from fedward_common.event_lines import EventLines, Tell
from fedward_common.file_lock import held_lock
from fedward_common.flower_environment import flower_environment
from fedward_common.health_page import health_page
from fedward_common.private_file import require_private
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.database_settings import PostgreSQLDatabase
from fedward_server.coordinator.flower_database import is_rebuilt
from fedward_server.coordinator.given_messages import GivenMessages
from fedward_server.coordinator.node_registry import NodeRegistry
from fedward_server.coordinator.open_runs import open_runs
from fedward_server.coordinator.run_queue import take_place
from fedward_server.coordinator.tls_certificate import WARNING_DAYS, days_left

if TYPE_CHECKING:
    from fedward_server.consortium.office_folder import Office
    from fedward_server.coordinator.duplicate_nodes import DuplicateNodes
    from fedward_server.coordinator.flower_control import FlowerControl
    from fedward_server.coordinator.listeners import Listeners
    from fedward_server.coordinator.loopback_access import LoopbackAccess
    from fedward_server.coordinator.run_tasks import RunTasks

_LOOK_SECONDS = 2.0
_DATABASE = "database.unusable"
_END_SECONDS = 30.0
_LOG_BYTES = 10 << 20


def start_coordinator(folder: Path, office_folder: Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        folder: The coordinator's home.
        office_folder: Of the consortium's office, where it takes requests online; None is what
            `coordinator.toml` says.

    Raises:
        LockedError: Another process works on this home.
        ConfigurationError: Settings, certificate, key or roster cannot be used, a key is open to
            every account, or a port is taken.
        CorruptFileError: Flower's database is damaged.
    """
    home = CoordinatorHome(folder.absolute())
    settings = home.settings()
    require_private(home.key_file, home.file_of(settings.certificate_key_file))
    home.make_folders()
    taken = LockedError(
        f"another coordinator works on {home.folder}", hint="one home, one process; end that one"
    )
    tell = EventLines("fedward-coordinator", sys.stdout)
    with held_lock(home.lock_file, if_held=taken):
        # Read once, when Flower is imported.
        os.environ.update(flower_environment(str(home.flower)))
        _log_to(home.flower_log)
        _serve(home, _office_of(home, office_folder), tell, _stopped_by_signals())


def _serve(
    home: CoordinatorHome, office: "Office | None", tell: Tell, stop: threading.Event
) -> None:
    _check_certificate(home, tell)
    looks = _looks_at_office(home, office, tell)
    given, duplicates = GivenMessages(), _duplicates(tell)
    with (
        _database(home, tell) as (database, look_at_database),
        _listening(home, office, database, given, duplicates) as (listeners, access, public_port),
        _orders(access) as control,
    ):
        registry = NodeRegistry(home, control, tell, time.time, duplicates.know)
        registry.refresh()
        control.stop_open_runs()
        for name in open_runs(home, tell):
            control.submit_run(name)
        serve = _tasks(home, access, tell, stop, given).serve
        tasks = threading.Thread(target=serve, name="tasks", daemon=True)
        tasks.start()
        try:
            with _health(home, access, listeners, tasks, duplicates) as health_port:
                tell("ready", port=public_port, health_port=health_port)
                looks["roster.unusable"] = registry.refresh
                looks[_DATABASE] = look_at_database
                _watch(looks, listeners, tell, stop)
        finally:
            stop.set()
            tasks.join(_END_SECONDS)
    tell("stopped")


def _duplicates(tell: Tell) -> "DuplicateNodes":
    from fedward_server.coordinator.duplicate_nodes import DuplicateNodes

    return DuplicateNodes(tell, SystemClock(), time.time)


@contextlib.contextmanager
def _health(
    home: CoordinatorHome,
    access: "LoopbackAccess",
    listeners: "Listeners",
    tasks: threading.Thread,
    duplicates: "DuplicateNodes",
) -> Iterator[int | None]:
    """Serve the health page for as long as the block lasts."""
    from fedward_common.flower_runtime import CALL_FAILED
    from fedward_server.coordinator.health_watch import CoordinatorWatch

    def serving() -> Mapping[str, bool]:
        return {"listeners": listeners.are_serving, "tasks": tasks.is_alive()}

    # A connection of its own: other threads use the other one.
    with _orders(access) as control:
        watch = CoordinatorWatch(home, control, CALL_FAILED, serving, time.time, duplicates.times)
        with health_page(home.settings().health_port, watch.report) as port:
            yield port


def _watch(
    looks: Mapping[str, Callable[[], None]],
    listeners: "Listeners",
    tell: Tell,
    stop: threading.Event,
) -> None:
    """Take over what the office decided, and keep the list of nodes so, until stopped."""
    told: dict[str, str] = {}
    while not stop.wait(_LOOK_SECONDS):
        if not listeners.are_serving:
            raise ConfigurationError(
                "a listener ended", hint="flower/flower.log in the home says why; start again"
            )
        for event, look in looks.items():
            code = _code_of(look)
            if code and code != told.get(event):
                tell(event, code=code)
            if (event, code) == (_DATABASE, LockedError.code):
                raise ConfigurationError(
                    "another coordinator took the database while its server was away",
                    hint="give each coordinator a database of its own, and start again",
                )
            told[event] = code


def _code_of(look: Callable[[], None]) -> str:
    """Give the code of what went wrong, or nothing."""
    try:
        look()
    except FedwardError as error:
        return error.code
    except OSError as error:
        return type(error).__name__
    return ""


def _office_of(home: CoordinatorHome, folder: Path | None) -> "Office | None":
    named = home.settings().office
    if folder is None and not named:
        return None
    from fedward_server.consortium.office_folder import Office

    return Office(folder.absolute() if folder is not None else home.file_of(named))


def _looks_at_office(
    home: CoordinatorHome, office: "Office | None", tell: Tell
) -> dict[str, Callable[[], None]]:
    """Take over what the office decided before; give what does so again."""
    if office is None:
        return {}
    from fedward_server.coordinator.office_link import OfficeLink

    link = OfficeLink(home, office, tell, time.time)
    code = _code_of(link.refresh)
    if code:  # sites go on with the roster that the home has
        tell("office.unusable", code=code)
    return {"office.unusable": link.refresh}


def _check_certificate(home: CoordinatorHome, tell: Tell) -> None:
    file = home.file_of(home.settings().certificate_file)
    left = days_left(file, now_seconds=time.time())
    if left < WARNING_DAYS:
        tell("certificate.expires", days=round(left, 1))


@contextlib.contextmanager
def _database(
    home: CoordinatorHome, tell: Tell
) -> Iterator[tuple[Path | PostgreSQLDatabase, Callable[[], None]]]:
    """Prepare Flower's database; give it, and what looks whether it is held still."""
    database = home.postgresql()
    if database is None:
        if is_rebuilt(home.database):
            tell("database.rebuilt", code="FLOWER_DATABASE_GONE", path=str(home.database))
        yield home.database, lambda: None
        return
    from fedward_server.coordinator.postgresql_database import HeldDatabase

    held = HeldDatabase(database)
    try:
        if held.is_rebuilt(home.flower / "begun-postgresql", time.time()):
            tell("database.rebuilt", code="FLOWER_DATABASE_GONE", path=database.text)
        yield database, held.require_held
    finally:
        held.close()


@contextlib.contextmanager
def _listening(
    home: CoordinatorHome,
    office: "Office | None",
    database: Path | PostgreSQLDatabase,
    given: GivenMessages,
    duplicates: "DuplicateNodes",
) -> Iterator[tuple["Listeners", "LoopbackAccess", int]]:
    """Serve Flower behind the gates for as long as the block lasts."""
    from fedward_common.flower_environment import LOOPBACK
    from fedward_server.coordinator.enrolment_answers import EnrolmentAnswers
    from fedward_server.coordinator.listener_gates import LoopbackGate, PublicGate
    from fedward_server.coordinator.listeners import Listeners, bound_socket, port_of
    from fedward_server.coordinator.loopback_access import LoopbackAccess
    from fedward_server.coordinator.request_rate import RequestRate
    from fedward_server.coordinator.superlink import superlink_app

    settings = home.settings()
    public = bound_socket(settings.host, settings.port)
    loopback = bound_socket(LOOPBACK, settings.loopback_port)
    access = LoopbackAccess(port_of(loopback))
    app = superlink_app(database, access, given)
    _log_through_root("flwr")
    listeners = Listeners(
        PublicGate(
            app,
            EnrolmentAnswers(home, office, time.time, duplicates.last_of),
            RequestRate(SystemClock()).admits,
            watching=duplicates.watching,
        ),
        public,
        LoopbackGate(app),
        loopback,
        certificate_file=home.file_of(settings.certificate_file),
        certificate_key_file=home.file_of(settings.certificate_key_file),
    )
    public_port = port_of(public)
    listeners.start()
    access.write(home.loopback_file)
    try:
        yield listeners, access, public_port
    finally:
        home.loopback_file.unlink(missing_ok=True)
        listeners.stop()


@contextlib.contextmanager
def _orders(access: "LoopbackAccess") -> Iterator["FlowerControl"]:
    from fedward_server.coordinator.flower_control import FlowerControl

    control = FlowerControl(access)
    try:
        yield control
    finally:
        control.close()


def _tasks(
    home: CoordinatorHome,
    access: "LoopbackAccess",
    tell: Tell,
    stop: threading.Event,
    given: GivenMessages,
) -> "RunTasks":
    from fedward_server.coordinator.app import app as server_app
    from fedward_server.coordinator.run_tasks import RunPlace, RunTasks

    def place_of(name: str) -> RunPlace:
        return RunPlace(str(home.run_folder(name)), str(home.key_file))

    def in_turn(grid: Any, context: Any) -> None:
        try:
            server_app(grid, context)
        except StoppedError:
            raise
        except Exception:
            # It is tried again at the next start, behind those that it must not keep waiting.
            with contextlib.suppress(FedwardError, OSError):
                take_place(home.runs, Path(str(context.run_config["run-folder"])))
            raise

    return RunTasks(access, place_of, in_turn, tell, stop, given=given)


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()

    def handle(*_: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop


def _log_through_root(name: str) -> None:
    """Take a library's own handlers away, which write to the terminal."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.INFO)


def _log_to(path: Path) -> None:
    """Send what Flower and its server say to a file; stdout has our own lines alone."""
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("httpx").setLevel(logging.WARNING)
