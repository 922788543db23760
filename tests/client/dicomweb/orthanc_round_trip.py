"""Runs beside Orthanc: store, scan, fetch, scan again, with the wrong password too."""

import dataclasses
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid
from tests.client.dicomweb.orthanc import USER
from tests.client.dicomweb.pacs_server import bytes_of, ct_slice

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.dicomweb.problems import DicomWebError
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.dicomweb.store import DicomWebStore

NUM_SLICES = (12, 5)


def settings_of(url: str, secret: Path, **keys: Any) -> DicomWebSettings:
    return DicomWebSettings(
        url=url,
        auth="basic",
        user=USER,
        secret_file=str(secret),
        plain_http_hosts=("127.0.0.1",),
        **keys,
    )


def main(folder: Path, url: str, secret: Path) -> dict[str, Any]:
    settings = settings_of(url, secret, page_size=4)
    store = DicomWebStore(settings, folder / "cache")
    study = generate_uid()
    content: dict[str, bytes] = {}
    for num_slices in NUM_SLICES:
        series = generate_uid()[:60]
        paths = []
        for number in range(num_slices):
            dataset = ct_slice(study, series, number)
            content[dataset.SOPInstanceUID] = bytes_of(dataset)
            paths.append(folder / f"{len(content)}.dcm")
            paths[-1].write_bytes(content[dataset.SOPInstanceUID])
        store.store(paths)
    with DicomIndex.open(folder / "index.sqlite", pseudonym_key=bytes(32)) as index:
        first, second = store.scan(index), store.scan(index)
        facts = [f for uid in index.series_of_study(study) for f in index.series(uid)]
        with store.local_files([one.locator for one in facts]) as files:
            same = [
                file.read_bytes() == content[one.sop_instance_uid]
                for file, one in zip(files, facts, strict=True)
            ]
        return {
            "first": dataclasses.asdict(first),
            "second": dataclasses.asdict(second),
            "same": same,
            "slices": sorted(len(index.series(uid)) for uid in index.series_of_study(study)),
            "asked_by_uid": len(store.locators_of_series(facts[0].series_instance_uid)),
            "positions": sorted(
                {one.image_position_mm[2] for one in facts if one.image_position_mm}
            ),
            "left": len(list((folder / "cache" / "dicomweb").iterdir())),
            "wrong_password": _code_with_wrong_password(settings, folder),
        }


def _code_with_wrong_password(settings: DicomWebSettings, folder: Path) -> str:
    wrong = folder / "wrong"
    wrong.touch(0o600)
    wrong.write_text("not-it")
    store = DicomWebStore(dataclasses.replace(settings, secret_file=str(wrong)), folder / "cache")
    try:
        store.locators_of_series("1.2.3")
    except DicomWebError as error:
        return error.code
    return "let in"
