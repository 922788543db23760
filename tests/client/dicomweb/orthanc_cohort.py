"""Runs beside Orthanc: `fedward-site cohort add --dicomweb`, check and update, as processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid
from tests.client.cohorts.dicom_hospital import TASK
from tests.client.dicomweb.orthanc import PASSWORD, USER
from tests.client.dicomweb.orthanc_round_trip import settings_of
from tests.client.dicomweb.pacs_server import PATIENT_ID, PATIENT_NAME, bytes_of, ct_slice

from fedward_client.dicomweb.store import DicomWebStore

NUM_PATIENTS = 12
IMAGES_AT_ONCE = 3  # so many fit into the temporary space


def main(folder: Path, url: str, secret: Path) -> dict[str, Any]:
    store = DicomWebStore(settings_of(url, secret), folder / "cache-of-the-sender")
    uids = [_stored(store, folder, number) for number in range(NUM_PATIENTS)]
    size = (folder / "sent.dcm").stat().st_size
    settings = _write_settings(folder, url, secret, (IMAGES_AT_ONCE + 1) * size)
    labels, task = folder / "labels.csv", folder / "job.toml"
    _write_labels(labels, uids)
    task.write_text(TASK)
    sources = ["--dicomweb", str(settings), "--labels", str(labels), "--task", str(task)]
    added = _cohort(folder, "add", "chest", *sources, "--cases", "images")
    checked = _cohort(folder, "check", "chest")
    unchanged = _cohort(folder, "update", "chest")
    uids.append(_stored(store, folder, NUM_PATIENTS, side=512))  # larger than the space
    _write_labels(labels, uids)
    updated = _cohort(folder, "update", "chest")
    checked_again = _cohort(folder, "check", "chest")
    secret.write_text("not-it")
    refused = _cohort(folder, "update", "chest")
    ended = [added, checked, unchanged, updated, checked_again, refused]
    told = "".join(one.stdout + one.stderr for one in ended)
    return {
        "codes": [one.returncode for one in ended],
        "answers": [json.loads(one.stdout) for one in ended[:-1]],
        "refused": refused.stderr,
        "left": [path.name for path in (folder / "home/cache/dicomweb").iterdir()],
        "needles": [n for n in (PASSWORD, PATIENT_ID, PATIENT_NAME, *uids) if n in told],
    }


def _stored(store: DicomWebStore, folder: Path, number: int, side: int = 64) -> str:
    """Send one CT image of one patient; give its SOP UID."""
    dataset = ct_slice(generate_uid(), generate_uid()[:60], number, side)
    dataset.PatientID = f"{PATIENT_ID}-{number:02}"
    dataset.PatientName = f"{PATIENT_NAME}{chr(ord('a') + number)}"
    dataset.AccessionNumber = f"A{number}"
    path = folder / "sent.dcm"
    path.write_bytes(bytes_of(dataset))
    store.store([path])
    return str(dataset.SOPInstanceUID)


def _write_settings(folder: Path, url: str, secret: Path, quota_bytes: int) -> Path:
    path = folder / "pacs.toml"
    path.write_text(
        f'url = "{url}"\nauth = "basic"\nuser = "{USER}"\nsecret_file = "{secret}"\n'
        'plain_http_hosts = ["127.0.0.1"]\npage_size = 5\nattempts = 1\n'
        f"temporary_quota_bytes = {quota_bytes}\n"
    )
    return path


def _write_labels(path: Path, uids: list[str]) -> None:
    lines = [f"{uid},{number % 2}\n" for number, uid in enumerate(uids)]
    path.write_text("sop_instance_uid,label\n" + "".join(lines))


def _cohort(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    home = str(folder / "home")
    return subprocess.run(
        [sys.executable, "-m", "fedward_client", "cohort", *arguments, "--home", home, "--json"],
        env={**os.environ, "PYTHONWARNINGS": "always"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
