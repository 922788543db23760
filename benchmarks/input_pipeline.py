"""Milliseconds from a random 512x512 slice to a tensor, and how busy training keeps the processor.

    python -m benchmarks.input_pipeline

All in one process on one thread, files in the page cache, slices in random order, each to a float32
tensor of its values. Compared with reading DICOM by pydicom every epoch and with MONAI's
PersistentDataset. Decoding into a cache is timed beside it, once, with one worker.

The limit is of the job view, for that alone is read in every step of training and evaluation: its
files were hashed when the run opened it, and a slice is then a copy out of a memory map. The native
cache is read once a case when a view is built, and each array's SHA-256 is checked as it is read;
what that costs is part of the first epoch, and no limit is on it by itself.

Then a hospital of phantom DICOM files is registered as `fedward-site` does it, and trained on with
the site's own training. Its second and later epochs are "busy" for the share of wall time that was
not spent in getting images, and beside it stands the processor's share of wall time.
"""

import contextlib
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.ct_slices import TASK, RegisteredSlices, register_slices, write_slices
from benchmarks.measuring import parser, show
from benchmarks.training_share import busy_share
from fedward_client.cohorts.cache.native_cache import open_native_cache
from fedward_client.cohorts.open_source import open_source
from fedward_client.cohorts.registered.pinned_snapshots import (
    offered_sources,
    with_newest_snapshots,
)
from fedward_client.cohorts.views.job_view import prepare_job_view
from fedward_client.dicom.decode_pool import DecodePool
from fedward_common.job.job_file import DataSection

READ_IN_TRAINING = "Fedward: job view, in training"
READ_FOR_A_VIEW = "Fedward: native cache, for a view"
LIMIT_MILLISECONDS = 0.15
LIMIT_BUSY_SHARE = 0.95

ToTensor = Callable[[int], torch.Tensor]


def main() -> None:
    """Measure and print."""
    options = parser(__doc__ or "")
    options.add_argument("--slices", type=int, default=200)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--epochs", type=int, default=6, help="of training on phantoms")
    asked = options.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = measure_slices(folder, asked.slices, asked.size, asked.repeats)
        training = busy_share(folder / "phantoms", asked.epochs)
    show(
        f"{asked.slices} slices {asked.size}x{asked.size}, random order, to float32 tensors",
        rows,
        as_json=asked.json,
        limit_is_of=READ_IN_TRAINING,
        limit_is_met=all(row["ms a slice"] <= row["limit ms"] for row in rows if row["limit ms"]),
        **training,
        limit_busy_share=LIMIT_BUSY_SHARE,
    )


def measure_slices(folder: Path, num_slices: int, size: int, repeats: int) -> list[dict[str, Any]]:
    """Time every way of reading, one after another."""
    files = write_slices(folder / "dicom", num_slices, size)
    expected = _read_with_pydicom(files["uncompressed"][0])
    made = [
        _ours(folder / "ours", files["JPEG 2000"], size),
        _persistent_dataset(folder / "monai", files["JPEG 2000"]),
        *(_pydicom(name, paths) for name, paths in files.items()),
    ]
    rows: list[dict[str, Any]] = []
    for ways in made:
        for name, to_tensor, build_seconds, num_bytes in ways:
            if name != READ_IN_TRAINING:  # which has the job's normalised values
                torch.testing.assert_close(to_tensor(0).reshape(size, size), expected)
            rows.append(
                {
                    "source": name,
                    "ms a slice": _milliseconds(
                        to_tensor, num_slices, 1 if name.startswith("pydicom") else repeats
                    ),
                    "limit ms": LIMIT_MILLISECONDS if name == READ_IN_TRAINING else "",
                    "MB": num_bytes / 1e6,
                    "build s": build_seconds,
                }
            )
    return rows


Way = tuple[str, ToTensor, float, int]


def _milliseconds(to_tensor: ToTensor, num_slices: int, repeats: int) -> float:
    """Give the median over epochs, each in an order of its own; the caches were just written."""
    found = []
    for epoch in range(repeats):
        order = random.Random(epoch).sample(range(num_slices), num_slices)
        begin = time.perf_counter()
        for number in order:
            to_tensor(number)
        found.append(1000 * (time.perf_counter() - begin) / num_slices)
    return statistics.median(found)


def _ours(folder: Path, files: Sequence[Path], size: int) -> Sequence[Way]:
    folder.mkdir()
    site = register_slices(folder, list(files))
    begin = time.perf_counter()
    _decode(site)
    native_seconds = time.perf_counter() - begin
    native_bytes = open_native_cache(site.home).used_bytes

    begin = time.perf_counter()
    data = DataSection(modality="CT", image_size=(size, size))
    sources = with_newest_snapshots(offered_sources(site.home, "ct"))
    source = open_source(sources[0], TASK, data)
    cases = source.cases().cases
    view = prepare_job_view(site.home.cache, sources, TASK, data, site.home.split_key())
    view_seconds = time.perf_counter() - begin
    return (
        (
            READ_FOR_A_VIEW,
            lambda n: torch.from_numpy(source.read_image(cases[n])),
            native_seconds,
            native_bytes,
        ),
        (
            READ_IN_TRAINING,
            lambda n: torch.from_numpy(view.images[[n]]),
            view_seconds,
            view.images.nbytes,
        ),
    )


def _decode(site: RegisteredSlices) -> None:
    with (
        contextlib.closing(site.registration.open_store(site.home.cache)) as store,
        DecodePool(num_workers=1) as pool,
    ):
        outcomes = list(open_native_cache(site.home).decode_cases(site.snapshot, store, pool))
    if any(one.code is not None for one in outcomes):
        raise RuntimeError("a slice was not decoded")


def _persistent_dataset(folder: Path, files: Sequence[Path]) -> Sequence[Way]:
    from monai.data import PersistentDataset
    from monai.transforms import Lambda

    # Wrapped, for what is no transform of MONAI's own is not stored.
    reading = [Lambda(_read_with_pydicom, track_meta=False)]
    dataset: Any = PersistentDataset([str(path) for path in files], reading, folder)
    begin = time.perf_counter()
    for number in range(len(files)):
        dataset[number]
    seconds = time.perf_counter() - begin
    num_bytes = sum(path.stat().st_size for path in folder.rglob("*.pt"))
    return (("MONAI PersistentDataset", lambda n: dataset[n], seconds, num_bytes),)


def _pydicom(name: str, files: Sequence[Path]) -> Sequence[Way]:
    num_bytes = sum(path.stat().st_size for path in files)
    label = f"pydicom every epoch, {name}"
    return ((label, lambda n: _read_with_pydicom(files[n]), 0.0, num_bytes),)


def _read_with_pydicom(path: str | Path) -> torch.Tensor:
    from pydicom import dcmread
    from pydicom.pixels import apply_rescale

    dataset = dcmread(path)
    return torch.from_numpy(apply_rescale(dataset.pixel_array, dataset).astype("float32"))


if __name__ == "__main__":
    main()
