"""A PostgreSQL server for tests, of Debian's `postgresql`, on a Unix socket and on loopback.

PostgreSQL refuses to run as root; there, it runs as `nobody`. It ends with the test's process, also
where that is killed: its shell reads a pipe until then.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "fedward", "postgresql-needle-password"
_NOBODY = 65534
_RUN = '"$@" & pid=$!; cat >/dev/null; kill -INT $pid; wait $pid'


@dataclass
class PostgreSQLServer:
    """A server, started or stopped, with its folder and port.

    Attributes:
        programs: Folder of `initdb`, `postgres` and `psql`.
    """

    programs: Path
    folder: Path
    port: int
    _running: "subprocess.Popen[bytes] | None" = field(default=None)

    @property
    def socket(self) -> Path:
        return self.folder / f".s.PGSQL.{self.port}"

    def url(self, name: str = USER) -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{name}"

    def make(self) -> None:
        secret = self.folder / "superuser"
        secret.write_text(PASSWORD)
        self._owned(secret)
        self._run(
            "initdb", "--pgdata", str(self.folder / "data"), "--username", USER, "--encoding",
            "UTF8", "--no-sync", "--auth", "scram-sha-256", "--pwfile", str(secret),
        )  # fmt: skip

    def start(self) -> None:
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "fsync": "off",
            "unix_socket_directories": str(self.folder),
        }  # fmt: skip
        if (self.folder / "server.crt").exists():
            settings |= {
                "ssl": "on",
                "ssl_cert_file": str(self.folder / "server.crt"),
                "ssl_key_file": str(self.folder / "server.key"),
            }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options]
        with (self.folder / "log").open("ab") as log:
            self._running = subprocess.Popen(
                ["sh", "-c", _RUN, "sh", *command], stdin=subprocess.PIPE, stdout=log, stderr=log,
                cwd="/", **_account(),
            )  # fmt: skip
        ends = time.monotonic() + 60
        while self._psql("postgres", "SELECT 1").returncode:
            assert time.monotonic() < ends, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.1)

    def stop(self) -> None:
        if self._running is not None and self._running.stdin is not None:
            self._running.stdin.close()
            self._running.wait(timeout=60)
        self._running = None

    def serve_tls(self, certificate: Path, key: Path) -> None:
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            shutil.copy(source, self.folder / name)
            (self.folder / name).chmod(0o600)
            self._owned(self.folder / name)

    def sql(self, statement: str, name: str = "postgres") -> str:
        done = self._psql(name, statement)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def make_anew(self, name: str = USER) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.sql(f"CREATE DATABASE {name}")

    def _psql(self, name: str, statement: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.programs / "psql"), "-h", str(self.folder), "-p", str(self.port), "-U", USER,
             "-d", name, "-At", "-c", statement],
            env=os.environ | {"PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip

    def _run(self, program: str, *options: str) -> None:
        subprocess.run(
            [str(self.programs / program), *options], check=True, capture_output=True, timeout=120,
            cwd="/", **_account(),
        )  # fmt: skip

    def _owned(self, path: Path) -> None:
        if os.geteuid() == 0:
            os.chown(path, _NOBODY, _NOBODY)


def _account() -> dict[str, Any]:
    return {"user": _NOBODY, "group": _NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return installed[-1].parent if installed else None


@contextmanager
def postgresql_server(port: int) -> Iterator[PostgreSQLServer]:
    """Serve an empty cluster; skip where PostgreSQL is not installed."""
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    # Not below pytest's folder, which others than its owner may not enter.
    folder = Path(tempfile.mkdtemp(prefix="fedward-pg-"))
    server = PostgreSQLServer(programs, folder, port)
    server._owned(folder)
    try:
        server.make()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
