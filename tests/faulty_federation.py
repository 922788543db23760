"""A coordinator and five sites as processes, each behind a line of its own that a test can spoil.

Faults come from outside: signals, lines, and files of the homes. The programs know nothing of them.
"""

import datetime
import json
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faulty_network import FaultyLine
from tests.masked_federation import FIVE_SITES
from tests.real_federation import Line, Process, RealFederation, processes_of_session, write_tls
from tests.tiny_federation import (
    TinyFederation,
    essence,
    pictures_of,
    tiny_job,
    write_site,
)

from fedward_client.daemon.audit import AUDIT_FILE
from fedward_client.daemon.round_store import RoundStore
from fedward_common.identities import SiteId
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import read_loopback_access
from fedward_server.coordinator.run_journal import replay
from fedward_server.simulation.homes import make_homes
from fedward_server.simulation.site_side import site_side

NODE, TASKS = "supernode", "task_loop"
SECONDS = 200  # a machine with other work needs them; nothing here waits so long by itself


@dataclass
class FaultyFederation(RealFederation):
    """Homes, lines, and what runs now.

    Attributes:
        lines: Of each site.
        sites: The daemon of each.
        coordinator: The process that serves them; None before its first start.
    """

    lines: dict[str, FaultyLine] = field(default_factory=dict)
    sites: dict[str, Process] = field(default_factory=dict)
    coordinator: Process | None = None
    _looked_at: dict[int, int] = field(default_factory=dict)
    _ordered_at: dict[int, int] = field(default_factory=dict)
    _ordered: str = ""

    def write_site_settings(self, site: str) -> Path:
        """Tell a site its own line's port for the coordinator's."""
        line = self.lines.setdefault(site, FaultyLine())
        line.target_port, coordinator = self.port, self.port
        self.port = line.port
        try:
            return super().write_site_settings(site)
        finally:
            self.port = coordinator

    def start_site(self, site: str) -> Process:
        """Start a site's daemon in place of the one before."""
        self.sites[site] = super().start_site(site)
        return self.sites[site]

    def begin(self) -> None:
        """Start the coordinator and every site, and wait until all are connected."""
        self.coordinator = self.start_coordinator()
        for site in self.tiny.homes:
            self.start_site(site)
        for site in self.tiny.homes:
            self.came_at(site, "node.connected")

    @property
    def serving(self) -> Process:
        """The coordinator that runs."""
        assert self.coordinator is not None
        return self.coordinator

    def kill_coordinator(self) -> None:
        """Kill -9 it, and start another on the same home."""
        self.serving.kill()
        self.coordinator = self.start_coordinator()

    def lay_down(self, run: str, *overrides: str) -> Path:
        """Write a run of this federation's job; give its folder."""
        folder = self.coordinator_home.runs / run
        self.tiny.with_job(*overrides).set_up(folder)
        return folder

    def undisturbed(self, run: str, *overrides: str) -> dict[str, Any]:
        """Run the same job in this process, without a fault, and give what it comes to."""
        folder = self.folder / "undisturbed" / run
        self.tiny.with_job(*overrides).run(folder)
        return essence(folder)

    def order(self, run: str) -> None:
        """Let the coordinator that serves begin a run; what was said before is over."""
        self._ordered = run
        for process in (self.serving, *self.sites.values()):
            num_lines = len(process.all_lines())
            self._looked_at[process.popen.pid] = self._ordered_at[process.popen.pid] = num_lines
        control = FlowerControl(read_loopback_access(self.coordinator_home.loopback_file))
        try:
            control.submit_run(run)
        finally:
            control.close()

    def came(self, event: str, **fields: Any) -> Line:
        """Wait for a line of the coordinator."""
        return self._line_of(self.serving, event, fields)

    def came_at(self, site: str, event: str, **fields: Any) -> Line:
        """Wait for a line of a site."""
        return self._line_of(self.sites[site], event, fields)

    def events_at(self, site: str) -> list[str]:
        """Give what a site told since the last run was ordered."""
        process = self.sites[site]
        told = process.all_lines()[self._ordered_at.get(process.popen.pid, 0) :]
        return [line["event"] for line in told]

    def _line_of(self, process: Process, event: str, fields: Line) -> Line:
        """Look at lines that were not looked at; no run that failed is waited for."""
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            for line in process.all_lines()[self._looked_at.get(process.popen.pid, 0) :]:
                self._looked_at[process.popen.pid] = self._looked_at.get(process.popen.pid, 0) + 1
                if line["event"] == event and fields.items() <= line.items():
                    return line
                failed = (line["event"], line.get("run")) == ("run.failed", self._ordered)
                assert not failed, line
            assert process.popen.poll() is None, f"ended before {event}: {process.lines[-8:]}"
            time.sleep(0.02)
        raise AssertionError(f"no {event} {fields} in {SECONDS} s: {process.lines[-8:]}")

    def heal(self) -> None:
        """Take back what can be taken back."""
        for line in self.lines.values():
            line.heal()
        for site in self.sites:
            self.send(signal.SIGCONT, site, TASKS)

    def processes(self, site: str, module: str) -> list[int]:
        """Give the living processes of a site that run one of its two programs."""
        found = []
        for pid in processes_of_session(self.sites[site].popen.pid):
            words = _command_of(pid)
            if f"fedward_client.daemon.{module}" in words:
                found.append(pid)
        return found

    def send(self, sent: signal.Signals, site: str, module: str) -> None:
        """Send a signal to one program of a site."""
        for pid in self.processes(site, module):
            os.kill(pid, sent)

    def is_training(self, site: str) -> bool:
        """Say whether a site computes a round now."""
        return b"training" in _content(self.tiny.homes[SiteId(site)] / "run" / "at-work")

    def trained(self, site: str, run: str) -> list[int]:
        """Give the rounds that a site trained, each time it did."""
        path = self.home_of_run(site, run) / "activity.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [line["round"] for line in lines if "split" not in line]

    def ledger(self, site: str, run: str) -> list[dict[str, Any]]:
        """Give a site's ledger entries of a run."""
        path = self.tiny.homes[SiteId(site)] / "ledger" / "entries.jsonl"
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        name = self.home_of_run(site, run).name
        return [entry for entry in entries if entry.get("run") == name]

    def begun(self, site: str, run: str) -> list[int]:
        """Give the rounds of a run that a site's patients were charged for, each time."""
        return [e["round"] for e in self.ledger(site, run) if e["kind"] == "round.begun"]

    def survivors(self, site: str, run: str, number: int) -> tuple[str, ...]:
        """Give the sites that a site confirmed, and revealed its shares for, in a round."""
        store = RoundStore.of(self.home_of_run(site, run), "train", number, durable=False)
        state = store.state()
        assert state is not None
        return state.survivors

    def refusals(self, site: str, run: str) -> list[dict[str, Any]]:
        """Give what a site refused, or bore, for the secrecy of its part in a run."""
        path = self.tiny.homes[SiteId(site)] / AUDIT_FILE
        if not path.exists():
            return []
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        of_run = [e for e in entries if e.get("run") == self.home_of_run(site, run).name]
        return [entry for entry in of_run if "told" not in entry]

    def home_of_run(self, site: str, run: str) -> Path:
        """Give what a site keeps of a run that it accepted."""
        (found,) = self.homes_of_run(site, run)
        return found

    def homes_of_run(self, site: str, run: str) -> list[Path]:
        """Give the same as a list, which is empty where it never accepted the run."""
        manifest = (self.coordinator_home.runs / run / "manifest.cbor").read_bytes()
        stored = (self.tiny.homes[SiteId(site)] / "runs").glob("*/manifest.cbor")
        return [file.parent for file in stored if file.read_bytes() == manifest]

    def outcome(self, run: str) -> dict[str, Any]:
        """Give what a run came to."""
        return essence(self.coordinator_home.runs / run)

    def participants(self, run: str) -> list[list[str]]:
        """Give who was in each round."""
        return replay(self._entries(run)).participants

    def codes(self, run: str) -> set[tuple[str, int, str]]:
        """Give every failure of a run as site, round and code."""
        failures = replay(self._entries(run)).failures
        return {(f["site"], f["round"], f["code"]) for f in failures}

    def kinds(self, run: str) -> list[str]:
        """Give the kinds of a run's journal entries, in order."""
        return [entry["kind"] for entry in self._entries(run)]

    def _entries(self, run: str) -> list[dict[str, Any]]:
        """Read a journal that the coordinator may have open."""
        content = (self.coordinator_home.runs / run / "entries.jsonl").read_text()
        whole = content[: content.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def close(self) -> list[int]:
        """End everything; give the processes that did not go by themselves."""
        self.heal()
        left = super().close()
        for line in self.lines.values():
            line.close()
        return left


def make_faulty_federation(folder: Path, sites: Sequence[str] = FIVE_SITES) -> FaultyFederation:
    """Write data, homes, keys and TLS below `folder`."""
    data = folder / "data"
    data.mkdir(parents=True)
    cohorts = {"sites": {site: write_site(data, site, pictures_of(site)) for site in sites}}
    key_file = CoordinatorHome(folder / "coordinator").key_file
    homes = make_homes(site_side(), folder / "sites", cohorts, data, key_file=key_file)
    tiny = TinyFederation(data, cohorts, homes.sites, homes.roster, key_file, tiny_job())
    write_tls(folder / "coordinator" / "tls", datetime.datetime.now(datetime.UTC))
    federation = FaultyFederation(folder, tiny)
    federation.state_node_keys()
    return federation


def copied_home(home: Path, to: Path) -> Path:
    """Copy a site's home, as a thief or a careless backup would."""
    leave_out = shutil.ignore_patterns("run", "daemon.lock", "flower")
    return Path(shutil.copytree(home, to, ignore=leave_out))


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""  # it ended meanwhile


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
