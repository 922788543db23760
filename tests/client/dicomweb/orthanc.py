"""A real PACS for tests: Debian's Orthanc, in a network namespace that nothing else is in.

`visit` runs a script's `main(folder, url, secret_file)` beside it and gives what that returns. This
version of Orthanc listens on every address, so it is never started outside a namespace.
"""

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

USER, PASSWORD = "fedward", "orthanc-needle-password"
_PORT = 8042
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
_ROOT = Path(__file__).resolve().parents[3]
_TIMEOUT_SECONDS = 300


def _orthanc() -> str | None:
    return shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def _namespace() -> list[str] | None:
    """Find how this user may make a network namespace."""
    for command in (["unshare", "--net"], ["unshare", "--map-root-user", "--net"]):
        try:
            tried = subprocess.run(
                [*command, "ip", "link", "set", "lo", "up"],
                capture_output=True, check=False, timeout=30,
            )  # fmt: skip
        except OSError:
            return None
        if tried.returncode == 0:
            return command
    return None


def visit(script: str, folder: Path) -> Any:
    """Run `main` of a module beside an empty Orthanc; skip where there is none.

    Args:
        script: Module name, such as tests.client.dicomweb.orthanc_round_trip.
        folder: Empty; for the server and the script.
    """
    server, namespace = _orthanc(), _namespace()
    if server is None or not _PLUGIN.is_file():
        pytest.skip("no Orthanc: apt-get install orthanc orthanc-dicomweb")
    if namespace is None:
        pytest.skip("no network namespace for Orthanc: unshare --net is not permitted here")
    done = subprocess.run(
        [*namespace, sys.executable, __file__, server, script, str(folder)],
        env={**os.environ, "PYTHONPATH": str(_ROOT), "http_proxy": "http://127.0.0.1:1"},
        capture_output=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout.decode().splitlines()[-1])


def _write_configuration(folder: Path) -> Path:
    configuration = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(_PLUGIN)],
        "HttpPort": _PORT,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    path = folder / "orthanc.json"
    path.write_text(json.dumps(configuration))
    return path


def _inside(server: str, script: str, folder: Path) -> None:
    """What happens in the namespace: start Orthanc, wait until it says so, run the script."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    (folder / "storage").mkdir(parents=True)
    secret = folder / "secret"
    secret.touch(0o600)
    secret.write_text(PASSWORD)
    with subprocess.Popen(
        [server, str(_write_configuration(folder))], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            said: Iterable[str] = process.stderr or ()
            if not any("Orthanc has started" in line for line in said):
                raise RuntimeError("Orthanc did not start")
            url = f"http://127.0.0.1:{_PORT}/dicom-web"
            result = importlib.import_module(script).main(folder, url, secret)
            print(json.dumps(result))
        finally:
            process.kill()


if __name__ == "__main__":
    _inside(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
