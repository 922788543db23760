"""Headers a second into the index, the same folder again, and the memory both take.

    python -m benchmarks.dicom_scan

CT series are written to a temporary folder (64 x 64 pixels, headers as a scanner writes them: 80
elements, private blocks and sequences among them), so they lie in the page cache. Each scan is a
process of its own on one core.
"""

import argparse
import io
import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import parser, run_child, show

FILES = 20_000
SLICES = 100
LIMIT_FILES_PER_SECOND = 500
_KEY = bytes(32)
_UID_DIGITS = 12


def main() -> None:
    """Write the folders, scan each in a child, print."""
    options = parser(__doc__ or "")
    options.add_argument("--files", type=int, default=FILES)
    options.add_argument("--scan", nargs=2, help=argparse.SUPPRESS)  # what a child does
    asked = options.parse_args()
    if asked.scan:
        scan_once(Path(asked.scan[0]), Path(asked.scan[1]))
        return
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for number in (max(asked.files // 10, 1), asked.files):
            folder, index = Path(name) / f"files-{number}", Path(name) / f"{number}.sqlite"
            write_series(folder, number)
            rows += [scanned(kind, folder, index) for kind in ("new index", "nothing changed")]
        bytes_per_file = index.stat().st_size / asked.files
    more = {**summary(rows), "index_bytes_per_file": bytes_per_file}
    show("Scan of DICOM headers, page cache, one core", rows, as_json=asked.json, **more)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Give what the limits are about."""
    small, large, again = rows[0], rows[2], rows[3]
    return {
        "files_per_second": large["files/s"],
        "limit_files_per_second": LIMIT_FILES_PER_SECOND,
        "minutes_for_a_million_files": 1e6 / large["files/s"] / 60,
        "minutes_for_a_million_known_files": 1e6 / again["files/s"] / 60,
        "memory_ratio": large["peak MiB"] / small["peak MiB"],
    }


def scanned(kind: str, folder: Path, index: Path) -> dict[str, Any]:
    """Scan in a child process."""
    arguments = [sys.executable, "-m", "benchmarks.dicom_scan", "--scan", str(folder), str(index)]
    told = json.loads(run_child(arguments).stdout)
    return {"scan": kind, **told}


def scan_once(folder: Path, index_file: Path) -> None:
    """Scan on one core and print what it took; the child's whole work."""
    from fedward_client.cohorts.index.dicom_index import DicomIndex
    from fedward_client.cohorts.index.folder_scan import FolderStore

    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with DicomIndex.open(index_file, pseudonym_key=_KEY) as index:
        started, cpu_started = time.perf_counter(), time.process_time()
        done = FolderStore(folder).scan(index)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu_started
        if done.instances != done.files_seen:
            sys.exit(f"{done.files_seen} files, {done.instances} in the index")
    told = {
        "files": done.files_seen,
        "seconds": seconds,
        "cpu s": cpu,
        "files/s": done.files_seen / seconds,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(told))


def write_series(folder: Path, num_files: int) -> None:
    """Write a tree patient/study/series/slice; slices differ in what they do in real ones."""
    template = template_bytes()
    for series in range(-(-num_files // SLICES)):
        below = folder / f"patient{series // 4:05}" / f"study{series // 2:05}" / f"series{series}"
        below.mkdir(parents=True)
        of_series = template.replace(b"PATIENT-0000", f"PATIENT-{series // 4:04}".encode())
        for level, number in ((1, series // 2), (2, series)):
            of_series = of_series.replace(_uid(level, 0), _uid(level, number))
        for number in range(min(SLICES, num_files - series * SLICES)):
            content = of_series.replace(_uid(3, 0), _uid(3, series * SLICES + number))
            content = content.replace(b"-1000.00", f"{-1000 + 2.5 * number:08.2f}".encode())
            (below / f"IM{number:06}").write_bytes(content)


def _uid(level: int, number: int) -> bytes:
    return f"1.2.826.0.1.3680043.8.498.9{level}.1{number:0{_UID_DIGITS}}".encode()


def template_bytes() -> bytes:
    """One CT slice whose identifiers and position have fixed lengths."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CTImageStorage
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        _uid(level, 0).decode() for level in (1, 2, 3)
    )
    for keyword, value in {**_WORDS, **_NUMBERS}.items():
        setattr(dataset, keyword, value)
    dataset.ReferencedImageSequence = [_reference(n) for n in range(3)]
    dataset.ProcedureCodeSequence = [_code()]
    for group in (0x0009, 0x0019, 0x0027, 0x0043):
        block = dataset.private_block(group, "BENCHMARK PRIVATE 01", create=True)
        for offset in range(6):
            block.add_new(offset, "LO", f"private value {offset}")
    noise = np.random.default_rng(0).integers(-1000, 1000, (64, 64), dtype=np.int16)
    dataset.PixelData = noise.tobytes()
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _reference(number: int) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.8.{number}"
    return item


def _code() -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "RPID16", "RADLEX", "CT CHEST"
    return item


_WORDS = {
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "StudyDate": "20200102",
    "SeriesDate": "20200102",
    "AcquisitionDate": "20200102",
    "ContentDate": "20200102",
    "StudyTime": "101112.000",
    "SeriesTime": "101112.000",
    "AcquisitionTime": "101112.000",
    "ContentTime": "101112.000",
    "AccessionNumber": "ACC-1",
    "Modality": "CT",
    "Manufacturer": "BENCHMARK MEDICAL SYSTEMS",
    "InstitutionName": "Somewhere",
    "ReferringPhysicianName": "DOE^JOHN",
    "StationName": "CT01",
    "StudyDescription": "CT CHEST",
    "SeriesDescription": "THIN 2.5",
    "ManufacturerModelName": "SCANNER 64",
    "PatientName": "DOE^JANE^MIDDLE",
    "PatientID": "PATIENT-0000",
    "PatientBirthDate": "19600102",
    "PatientSex": "F",
    "PatientAge": "060Y",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "HELICAL MODE",
    "SoftwareVersions": "1.0",
    "ProtocolName": "CHEST ROUTINE",
    "RotationDirection": "CW",
    "FilterType": "BODY",
    "ConvolutionKernel": "STANDARD",
    "PatientPosition": "FFS",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.8.498.7",
    "PositionReferenceIndicator": "SN",
    "PhotometricInterpretation": "MONOCHROME2",
    "RescaleType": "HU",
}
_NUMBERS = {
    "SliceThickness": "2.5",
    "KVP": "120",
    "DataCollectionDiameter": "500",
    "ReconstructionDiameter": "360",
    "DistanceSourceToDetector": "949",
    "DistanceSourceToPatient": "541",
    "GantryDetectorTilt": "0",
    "TableHeight": "150",
    "ExposureTime": "600",
    "XRayTubeCurrent": "300",
    "Exposure": "12",
    "GeneratorPower": "36000",
    "FocalSpots": "1.2",
    "StudyID": "1",
    "SeriesNumber": "2",
    "AcquisitionNumber": "1",
    "InstanceNumber": "1",
    "ImagePositionPatient": ["-180", "-180", "-1000.00"],
    "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
    "SliceLocation": "-1000.00",
    "SamplesPerPixel": 1,
    "Rows": 64,
    "Columns": 64,
    "PixelSpacing": ["0.7", "0.7"],
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "PixelPaddingValue": -2000,
    "WindowCenter": "40",
    "WindowWidth": "400",
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
}


if __name__ == "__main__":
    main()
