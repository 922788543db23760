"""A hospital joins online with one command, renews by its daemon, and is cut off when removed.

The office certifies by a clock that is 70 days behind, so that the first certificate is due for its
renewal at once; coordinator and site are processes of their own and know the right time.
"""

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.real_federation import Process, write_tls

from fedward_client.enrolment.membership_files import own_certificate
from fedward_client.site_home import SiteHome
from fedward_common.consortium.enrolment_request import JoinRequest, read_request
from fedward_server.consortium.admission_command import run_approve, run_invite, run_renew
from fedward_server.consortium.coordinator_command import run_coordinator_join
from fedward_server.consortium.desk import Desk
from fedward_server.consortium.office_command import run_init, run_revoke, run_roster
from fedward_server.consortium.office_folder import Office

DAY = 24 * 3600
BEHIND_SECONDS = 70 * DAY
SITE_MAIN = "from fedward_client.cli import main; main()"
MAIN = "from fedward_server.cli import main; main()"


@dataclass
class Consortium:
    """An office and a coordinator in one folder, and the processes of a test."""

    folder: Path
    port: int = 0
    started: list[Process] = field(default_factory=list)

    def desk(self, behind_seconds: float = 0) -> Desk:
        return Desk(
            self.folder / "office",
            self.folder / "passphrase",
            json=True,
            now_seconds=lambda: time.time() - behind_seconds,
        )

    @property
    def coordinator(self) -> Path:
        return self.folder / "coordinator"

    @property
    def site(self) -> SiteHome:
        return SiteHome(self.folder / "site")

    def found(self) -> None:
        """Found the consortium and let its coordinator join by two files."""
        (self.folder / "passphrase").write_text("five words nobody would guess")
        (self.folder / "passphrase").chmod(0o600)
        behind = self.desk(BEHIND_SECONDS)
        run_init(behind, "Lung network", certificate_days=90, roster_days=300)
        token, answer = self.folder / "co.token", self.folder / "co.answer"
        run_invite(
            self.desk(), None, organisation="University", is_coordinator=True, days=7, address="",
            out=token,
        )  # fmt: skip
        self._join_coordinator(token_file=token)
        request = self.coordinator / "request.cbor"
        words = words_in(request.read_bytes())
        run_approve(behind, "coordinator", request_file=request, out=answer, fingerprint=words)
        self._join_coordinator(answer=answer)
        run_roster(self.desk(), out=None, coordinator_home=self.coordinator, refresh=False, above=0)
        write_tls(self.coordinator / "tls", datetime.datetime.now(datetime.UTC))
        (self.coordinator / "coordinator.toml").write_text(
            'host = "127.0.0.1"\nport = 0\n'
            'certificate_file = "tls/server.crt"\ncertificate_key_file = "tls/server.key"\n'
        )

    def _join_coordinator(self, token_file: Path | None = None, answer: Path | None = None) -> None:
        run_coordinator_join(
            self.coordinator, token=None, token_file=token_file, answer=answer, json_output=True
        )

    def start(self, code: str, *arguments: str) -> Process:
        command = [sys.executable, "-c", code, *arguments]
        process = Process.start(command, self.folder / "stderr.log")
        self.started.append(process)
        return process

    def invite_north(self) -> Path:
        token = self.folder / "north.token"
        run_invite(
            self.desk(), "north", organisation="North Hospital", is_coordinator=False, days=7,
            address=f"https://127.0.0.1:{self.port}",
            tls_authority=self.coordinator / "tls" / "authority.pem", out=token,
        )  # fmt: skip
        return token

    def site_command(self, *arguments: str) -> list[str]:
        home = str(self.site.folder)
        return [sys.executable, "-c", SITE_MAIN, *arguments, "--json", "--home", home]

    def waiting_request(self) -> bytes:
        """Give the request that came online, once it did."""
        found: bytes = until(
            lambda: next(
                (one.waiting for one in Office(self.folder / "office").state().invitations.values()
                 if one.site == "north"), b"",
            )
        )  # fmt: skip
        return found


def words_in(request: bytes) -> str:
    read = read_request(request)
    assert isinstance(read, JoinRequest)
    return " ".join(read.words())


def until(look: Callable[[], Any], seconds: float = 30) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing came in {seconds} s")


@pytest.fixture
def consortium(tmp_path: Path) -> Iterator[Consortium]:
    made = Consortium(tmp_path)
    made.found()
    yield made
    for process in made.started:
        if process.popen.poll() is None:
            process.end()
    assert [pid for process in made.started for pid in process.descendants()] == []


@pytest.mark.slow
def test_a_hospital_joins_online_renews_and_is_cut_off_when_removed(
    consortium: Consortium,
) -> None:
    home = str(consortium.coordinator)
    office = ("--office", str(consortium.folder / "office"))
    coordinator = consortium.start(MAIN, "coordinator", "start", "--home", home, *office)
    consortium.port = coordinator.wait_for("ready", 60)["port"]

    token = consortium.invite_north()
    joining = subprocess.Popen(
        consortium.site_command("join", "--token-file", str(token)), stdout=subprocess.PIPE
    )
    words = words_in(consortium.waiting_request())
    run_approve(
        consortium.desk(BEHIND_SECONDS), "north", request_file=None, out=None, fingerprint=words
    )
    out, _ = joining.communicate(timeout=40)
    assert joining.returncode == 0
    assert json.loads(out)["member"] is True
    coordinator.wait_for("node.registered", 20, site="north")

    daemon = consortium.start(SITE_MAIN, "start", "--home", str(consortium.site.folder))
    assert 19 < daemon.wait_for("certificate.waits", 40)["days"] < 21
    daemon.wait_for("node.connected", 60)
    run_renew(consortium.desk(), None, request_file=None, out=None)
    assert daemon.end() == 0
    daemon = consortium.start(SITE_MAIN, "start", "--home", str(consortium.site.folder))
    assert daemon.wait_for("certificate.renewed", 40)["days"] > 89
    coordinator.wait_for("certificate.renewed", 20)
    _, own = own_certificate(consortium.site, now_seconds=time.time())
    assert own.not_after_seconds > time.time() + 89 * DAY

    run_revoke(consortium.desk(), "north")
    coordinator.wait_for("node.forgotten", 20)


@pytest.mark.slow
def test_a_join_at_another_server_sends_nothing_and_says_so(consortium: Consortium) -> None:
    home = str(consortium.coordinator)
    with (consortium.coordinator / "coordinator.toml").open("a") as settings:
        settings.write('office = "../office"\n')
    coordinator = consortium.start(MAIN, "coordinator", "start", "--home", home)
    consortium.port = coordinator.wait_for("ready", 60)["port"]
    write_tls(consortium.coordinator / "tls", datetime.datetime.now(datetime.UTC))
    token = consortium.invite_north()
    ended = subprocess.run(
        consortium.site_command("join", "--token-file", str(token)),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "is not the one of the invitation" in ended.stderr
    assert "Traceback" not in ended.stderr
    invitations = Office(consortium.folder / "office").state().invitations.values()
    assert not any(one.waiting for one in invitations)
