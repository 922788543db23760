"""A coordinator and its sites as processes of this machine, over TLS on loopback."""

import datetime
import ipaddress
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.tied_process import TIE, tied_command
from tests.tiny_federation import SITES, TinyFederation, pictures_of, tiny_job, write_site

from fedward_client.daemon.node_key import stated_node_key
from fedward_client.site_home import SiteHome
from fedward_common.identities import SiteId
from fedward_common.job.job_file import Job
from fedward_server.coordinator.coordinator_home import CoordinatorHome
from fedward_server.simulation.homes import make_homes
from fedward_server.simulation.site_side import site_side
from fedward_server.simulation.throwaway_consortium import CONSORTIUM

Line = dict[str, Any]
DAYS_OF_CERTIFICATE = 90


def write_tls(folder: Path, now: datetime.datetime, *, days: float = DAYS_OF_CERTIFICATE) -> None:
    """Write `authority.pem`, and `server.crt` with `server.key` that it vouches for.

    They count from the day before `now` for so many days after it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    begin, end = now - datetime.timedelta(1), now + datetime.timedelta(days)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n)]) for n in ("CA", "server")]

    def builder(subject: int) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(names[subject])
            .issuer_name(names[0])
            .public_key(keys[subject].public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
        )

    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    authority = builder(0).add_extension(x509.BasicConstraints(True, 0), True)
    server = (
        builder(1)
        .add_extension(x509.BasicConstraints(False, None), True)
        .add_extension(x509.SubjectAlternativeName([loopback]), False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
    )
    for name, made in (("authority.pem", authority), ("server.crt", server)):
        signed = made.sign(keys[0], hashes.SHA256())
        (folder / name).write_bytes(signed.public_bytes(Encoding.PEM))
    private = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").touch(mode=0o600)
    (folder / "server.key").write_bytes(private)


@dataclass
class Process:
    """A command in a session of its own, with the lines of JSON that it says."""

    popen: "subprocess.Popen[str]"
    lines: list[Line] = field(default_factory=list)
    _came: "queue.Queue[Line | None]" = field(default_factory=queue.Queue)

    @classmethod
    def start(cls, command: Sequence[str], log: Path) -> "Process":
        with log.open("ab") as errors:
            popen = subprocess.Popen(
                list(command),
                stdin=TIE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )
        process = cls(popen)
        threading.Thread(target=process._read, daemon=True).start()
        return process

    def _read(self) -> None:
        for text in self.popen.stdout or ():
            if text.startswith("{"):
                self._came.put(json.loads(text))
        self._came.put(None)

    def wait_for(self, event: str, seconds: float, **fields: Any) -> Line:
        """Give the first line from now on with this event and these fields."""
        ends = time.monotonic() + seconds
        while True:
            try:
                line = self._came.get(timeout=max(0.01, ends - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {event} in {seconds} s: {self.lines[-8:]}") from None
            if line is None:
                raise AssertionError(f"ended before {event}: {self.lines[-8:]}")
            self.lines.append(line)
            if line["event"] == event and fields.items() <= line.items():
                return line

    def all_lines(self) -> list[Line]:
        """Give everything that it said until now."""
        while not self._came.empty():
            line = self._came.get()
            if line is None:
                self._came.put(None)
                break
            self.lines.append(line)
        return self.lines

    def kill(self) -> None:
        """SIGKILL the command itself; what it started has to notice."""
        self.popen.kill()
        self.popen.wait(timeout=30)

    def end(self, seconds: float = 40) -> int:
        """SIGTERM it; give its status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout=seconds)

    def descendants(self) -> list[int]:
        """Give the living processes of its session."""
        return processes_of_session(self.popen.pid)


def ended(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, stdin=TIE, capture_output=True, text=True, check=False, timeout=60
    )


def processes_of_session(session: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, of = (folder / "stat").read_text().rsplit(")", 1)[1].split()[:4]
        except OSError:
            continue  # it ended meanwhile
        if int(of) == session and state != "Z":
            found.append(int(folder.name))
    return found


@dataclass
class RealFederation:
    """Homes below one folder, and the processes on them.

    Attributes:
        tiny: The same sites, for a run in this process.
        more_settings: Lines of `coordinator.toml` beside the usual ones.
    """

    folder: Path
    tiny: TinyFederation
    started: list[Process] = field(default_factory=list)
    port: int = 0
    poll_seconds: float = 0.5
    more_settings: str = ""

    @property
    def coordinator_home(self) -> CoordinatorHome:
        return CoordinatorHome(self.folder / "coordinator")

    @property
    def tls(self) -> Path:
        return self.coordinator_home.folder / "tls"

    def write_coordinator_settings(self) -> None:
        (self.coordinator_home.folder / "coordinator.toml").write_text(
            f'host = "127.0.0.1"\nport = {self.port}\n'
            'certificate_file = "tls/server.crt"\ncertificate_key_file = "tls/server.key"\n'
            f"{self.more_settings}"
        )

    def write_site_settings(self, site: str) -> Path:
        """Tell a site where the coordinator is, and whom to believe that it is it."""
        home = self.tiny.homes[SiteId(site)]
        settings = home / "site.toml"
        lines = settings.read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("coordinator_", "poll_"))]
        shutil.copy(self.tls / "authority.pem", home / "consortium" / "coordinator-tls.pem")
        kept += [
            f'coordinator_address = "127.0.0.1:{self.port}"',
            f"poll_seconds = {self.poll_seconds}",
        ]
        settings.write_text("\n".join(kept) + "\n")
        return home

    def start_coordinator(self) -> Process:
        """Start it and wait until it serves; from then on its port is fixed."""
        self.write_coordinator_settings()
        process = Process.start(self._coordinator_command(), self.folder / "stderr.log")
        self.started.append(process)
        self.port = process.wait_for("ready", 60)["port"]
        return process

    def start_site(self, site: str) -> Process:
        self.write_site_settings(site)
        process = Process.start(self._site_command(site), self.folder / "stderr.log")
        self.started.append(process)
        return process

    def run_coordinator(self) -> "subprocess.CompletedProcess[str]":
        """Run one that is expected to end by itself."""
        return ended(self._coordinator_command())

    def run_site(self, site: str) -> "subprocess.CompletedProcess[str]":
        """Run one that is expected to end by itself."""
        return ended(self._site_command(site))

    def _coordinator_command(self) -> list[str]:
        home = str(self.coordinator_home.folder)
        return tied_command("fedward_server.cli", "coordinator", "start", "--home", home)

    def _site_command(self, site: str) -> list[str]:
        home = str(self.tiny.homes[SiteId(site)])
        return tied_command("fedward_client.cli", "start", "--home", home)

    def ask_before_jobs(self, site: str) -> Path:
        """Make a site's home one of a hospital, where each job waits for a person."""
        home = self.make_hospital(site)
        _change(home / "policy.toml", 'approval = "within-policy"', 'approval = "ask"')
        return home

    def make_hospital(self, site: str) -> Path:
        """Make a site's home one that is no simulation; its policy stays."""
        home = self.tiny.homes[SiteId(site)]
        _change(home / "site.toml", "simulated = true\n", "")
        return home

    def site_tells(self, site: str, *words: str) -> Any:
        """Run a command of a site and give the JSON that it prints."""
        home = str(self.tiny.homes[SiteId(site)])
        run = ended(tied_command("fedward_client.cli", *words, "--json", "--home", home))
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    def state_node_keys(self) -> None:
        """Hand each site's statement over, as joining does."""
        self.coordinator_home.make_folders()
        for site, folder in self.tiny.homes.items():
            stated = stated_node_key(SiteHome(folder), site=site, consortium=CONSORTIUM)
            (self.coordinator_home.nodes / f"{site}.cbor").write_bytes(stated)

    def close(self) -> list[int]:
        """End everything; give the processes that did not go by themselves."""
        for process in self.started:
            if process.popen.poll() is None:
                process.popen.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.popen.wait(timeout=40)
            except subprocess.TimeoutExpired:
                process.popen.kill()
        return list(self._left())

    def _left(self) -> Iterator[int]:
        ends = time.monotonic() + 20
        while time.monotonic() < ends and any(p.descendants() for p in self.started):
            time.sleep(0.1)
        for process in self.started:
            for pid in process.descendants():
                os.kill(pid, signal.SIGKILL)
                yield pid


def make_real_federation(folder: Path, job: Job | None = None) -> RealFederation:
    """Write data, homes, keys and TLS below `folder`."""
    data = folder / "data"
    data.mkdir(parents=True)
    cohorts = {"sites": {s: write_site(data, s, pictures_of(s)) for s in SITES}}
    coordinator = CoordinatorHome(folder / "coordinator")
    homes = make_homes(site_side(), folder / "sites", cohorts, data, key_file=coordinator.key_file)
    tiny = TinyFederation(
        data, cohorts, homes.sites, homes.roster, coordinator.key_file, job or tiny_job()
    )
    write_tls(coordinator.folder / "tls", datetime.datetime.now(datetime.UTC))
    real = RealFederation(folder, tiny)
    real.state_node_keys()
    return real


def _change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after))
