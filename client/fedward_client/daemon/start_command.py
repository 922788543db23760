"""`fedward-site start`: the site's daemon, until SIGTERM.

It keeps two processes going: Flower's node, which only ever connects outward, and the task loop,
which does the site's work. Both end with the daemon, however that ends. What happens is told in
lines of JSON on stdout; what Flower says stands in `flower/node.log` of the home, what a library of
C says of images in `tasks.log`. Commands give orders through `run/daemon.sock`.
"""

import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fedward_client.daemon.clock_check import ClockCheck
from fedward_client.daemon.command_socket import Do, listening
from fedward_client.daemon.node_key import node_key_file, stated_node_key
from fedward_client.daemon.present_work import forget_present_work
from fedward_client.daemon.site_watch import SiteWatch
from fedward_client.daemon.supervisor import Child, Supervisor
from fedward_client.jobs.orders import Order, carry_out
from fedward_client.site_home import SiteHome, write_private_file
from fedward_client.site_policy import read_policy
from fedward_client.site_settings import Connection, SiteSettings, connection_of
from fedward_common.clock import SystemClock
from fedward_common.errors import LockedError
from fedward_common.event_lines import EventLines, Tell
from fedward_common.file_lock import held_lock
from fedward_common.flower_environment import LOOPBACK, flower_environment
from fedward_common.health_page import health_page
from fedward_common.private_file import require_private
from fedward_common.settings import from_table, read_toml

NODE = "node"
TASKS = "tasks"

_LOOK_SECONDS = 0.5
_MEMBERSHIP_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 10.0
_CLOCK_SECONDS = 3.0  # the node begins then, whatever the coordinator's time is
_LOG_BYTES = 10 << 20


def start_site(folder: Path) -> None:
    """Run the daemon until SIGTERM or SIGINT.

    Raises:
        LockedError: Another daemon runs on this home.
        ConfigurationError: Settings, policy or keys cannot be used, a key is open to every account,
            or a port is taken.
    """
    home = SiteHome(folder.absolute())
    settings = from_table(SiteSettings, read_toml(home.settings_file))
    connection = connection_of(settings, home.folder)
    read_policy(home)
    require_private(home.trust / "site.key", home.trust / "node.key", home.folder / "split.key")
    taken = LockedError(
        f"another daemon works on {home.folder}", hint="one home, one daemon; end that one"
    )
    with held_lock(home.folder / "daemon.lock", if_held=taken):
        stated = stated_node_key(home, site=settings.site, consortium=settings.consortium)
        write_private_file(home.consortium / "node-key.cbor", stated)
        forget_present_work(home)
        _supervise(home, settings, connection)


def _supervise(home: SiteHome, settings: SiteSettings, connection: Connection) -> None:
    stop = _stopped_by_signals()
    tell = EventLines("fedward-site", sys.stdout)
    starts = _starts(home, connection)
    # Spreads restarts of many sites; nobody is protected by it.
    draw = random.Random(secrets.randbits(64)).random  # noqa: S311
    pem = connection.authority_file.read_text(encoding="ascii", errors="replace")
    clock = _clock_check(connection, pem, tell)
    supervisor = Supervisor(starts, SystemClock(), draw, tell, ended=clock.child_ended)
    watch = SiteWatch(home, supervisor.running, time.time, time.monotonic, lambda: clock.state)
    with (
        health_page(settings.health_port, watch.report) as health_port,
        listening(home, _orders(home, watch), tell),
    ):
        _look_after_membership(home, connection, pem, tell, stop, clock)
        tell("ready", site=settings.site, health_port=health_port)
        clock.wait_for_first(_CLOCK_SECONDS)
        try:
            while not stop.is_set():
                supervisor.tick()
                stop.wait(_LOOK_SECONDS)
        finally:
            supervisor.end(_GRACE_SECONDS)
    tell("stopped")


def _orders(home: SiteHome, watch: SiteWatch) -> Do:
    def do(order: Order, by: str) -> dict[str, Any]:
        done = carry_out(home, order, by=by, now=time.time())
        return done | {"health": watch.report().to_dict()} if order.do == "status" else done

    return do


def _clock_check(connection: Connection, pem: str, tell: Tell) -> ClockCheck:
    from fedward_client.enrolment.office_line import coordinator_time

    ask = coordinator_time(f"https://{connection.address}", pem)
    return ClockCheck(ask, tell, SystemClock(), time.time)


def _look_after_membership(
    home: SiteHome,
    connection: Connection,
    pem: str,
    tell: Tell,
    stop: threading.Event,
    clock: ClockCheck,
) -> None:
    """Renew in time and hear of removals, beside the children: a slow answer holds nobody up."""
    from fedward_client.enrolment.office_line import office_line
    from fedward_client.enrolment.upkeep import Upkeep

    send = office_line(f"https://{connection.address}", pem)
    upkeep = Upkeep(home, send, tell, SystemClock(), time.time)

    def serve() -> None:
        clock.tick()
        while not stop.wait(_MEMBERSHIP_LOOK_SECONDS):
            clock.tick()
            upkeep.tick()

    threading.Thread(target=serve, name="membership", daemon=True).start()


def _starts(home: SiteHome, connection: Connection) -> dict[str, Callable[[], Child]]:
    flower = home.folder / "flower"
    flower.mkdir(mode=0o700, exist_ok=True)
    secret_file = flower / "task.secret"
    write_private_file(secret_file, secrets.token_bytes(32))
    port = _free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLWR_")}
    environment |= flower_environment(str(flower))
    options = [
        *("--superlink", connection.address),
        *("--root-certificates", str(connection.authority_file)),
        *("--auth-supernode-private-key", str(node_key_file(home))),
        *("--isolation", "process"),
        *("--superexec-auth-secret-file", str(secret_file)),
        *("--host", LOOPBACK, "--port", str(port)),
    ]
    ours = [f"{connection.poll_seconds:g}", str(home.daemon_folder)]

    def start_node() -> Child:
        with _log_file(flower / "node.log") as log:
            return _start("supernode", [*ours, *options], environment, stderr=log)

    def start_tasks() -> Child:
        arguments = [str(port), str(secret_file), str(home.folder)]
        # What a library of C prints may quote a header, so it stays in the home.
        with _log_file(home.folder / "tasks.log") as log:
            return _start("task_loop", arguments, environment, stderr=log)

    return {NODE: start_node, TASKS: start_tasks}


def _start(
    module: str, arguments: list[str], environment: dict[str, str], *, stderr: IO[bytes]
) -> Child:
    # -P: a module in the folder that the daemon was started from is not taken for an installed one.
    command = [sys.executable, "-P", "-m", f"fedward_client.daemon.{module}", *arguments]
    return subprocess.Popen(  # its standard input is the tie of `end_with_parent`
        command, stdin=subprocess.PIPE, stderr=stderr, env=environment
    )


def _free_port() -> int:
    """Find a port of loopback that is free now; who takes it meanwhile costs one restart."""
    with socket.socket() as bound:
        bound.bind((LOOPBACK, 0))
        return int(bound.getsockname()[1])


def _log_file(path: Path) -> IO[bytes]:
    """Open a log for appending; one that has grown long becomes the one before."""
    if path.exists() and path.stat().st_size > _LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return os.fdopen(descriptor, "ab")


def _stopped_by_signals() -> threading.Event:
    stop = threading.Event()

    def handle(*_: object) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    return stop
