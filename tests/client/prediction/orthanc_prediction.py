"""Runs beside Orthanc: a series of the server is predicted, and the answer stored there."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from tests.client.dicomweb.orthanc import USER
from tests.client.dicomweb.orthanc_round_trip import settings_of
from tests.client.prediction.tiny_models import series_datasets, write_series, write_tiny_model

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.dicomweb.store import DicomWebStore
from fedward_client.prediction.command import PredictOptions, run_predict
from fedward_client.site_home import create_site_home


def main(folder: Path, url: str, secret: Path) -> dict[str, Any]:
    home = create_site_home(folder / "home", split_key=bytes(32))
    store = DicomWebStore(settings_of(url, secret), folder / "cache")
    datasets = series_datasets("coronal")
    series = datasets[0].SeriesInstanceUID
    store.store(sorted(write_series(folder / "series", datasets).iterdir()))
    toml = folder / "pacs.toml"
    toml.write_text(
        f'url = "{url}"\nauth = "basic"\nuser = "{USER}"\nsecret_file = "{secret}"\n'
        'plain_http_hosts = ["127.0.0.1"]\n'
    )
    write_tiny_model(folder / "model", "segmentation", "data.image_size=[8,16,16]")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run_predict(
            PredictOptions(
                model=folder / "model",
                series=series,
                home=home.folder,
                dicomweb=toml,
                out=folder / "result.dcm",
                store=True,
                json=True,
            )
        )
    written = dcmread(folder / "result.dcm")
    with DicomIndex.open(folder / "index.sqlite", pseudonym_key=bytes(32)) as index:
        store.scan(index)
        found = index.series(written.SeriesInstanceUID)
        with store.local_files([one.locator for one in found]) as files:
            same = [file.read_bytes() == (folder / "result.dcm").read_bytes() for file in files]
    return {
        "voxels": json.loads(printed.getvalue())["classes"][0]["voxels"],
        "bright": int(np.sum(written.pixel_array)),
        "modality": [one.modality for one in found],
        "refers_to_series": [one.referenced_series == series for one in found],
        "same": same,
    }
