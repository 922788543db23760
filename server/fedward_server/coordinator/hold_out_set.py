"""The public images by which a job's `[hold_out]` judges rounds: one .npz file at the coordinator.

```
images    float32, (n, channels, *image_size), as the model takes them
labels    classification: class ids, (n,); multi-label: 1, 0 or -1 (not annotated), (n, classes)
masks     segmentation, instead of labels: class ids or 255 (not annotated), (n, *image_size)
patients  a number for each image, (n,); may be left out, and then each image is a patient
```
Arrays lie in it unpacked, as `numpy.savez` writes them, so the file is as large as what is made of
it. Nothing is unpickled. The hash that the job names is compared before anything else is read.
"""

import hashlib
import io
import math
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fedward_common.annotation import NOT_ANNOTATED, NOT_ANNOTATED_VOXEL
from fedward_common.atomic_files import sha256_of_file, write_atomically
from fedward_common.errors import ConfigurationError
from fedward_common.job.hold_out_section import HoldOutSection
from fedward_common.job.job_file import Job

HOLD_OUT_FILE = "hold-out.npz"
MAX_BYTES = 1 << 30

_BLOCK = 1 << 20
_MAKE_ONE = "`fedward hold-out` makes one of the job's own form"
_NEEDS_NO_CLASS = ("accuracy", "loss")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class HoldOutSet:
    """Labelled public images, n of them, checked against a job.

    Attributes:
        images: Shape (n, channels, *image_size).
        masks: Shape (n, *image_size); None in classification.
        labels: Class ids, shape (n,); multi-label (n, num_classes); in segmentation all 0.
        patients: Patient number of each image, shape (n,).
        num_partly_annotated: Number of images with a label or voxel that is not annotated.
    """

    images: NDArray[np.float32]
    masks: NDArray[np.uint8] | None
    labels: NDArray[np.int64] | NDArray[np.int8]
    patients: NDArray[np.int64]
    num_partly_annotated: int


def write_hold_out(path: Path, arrays: Mapping[str, NDArray[Any]]) -> str:
    """Write a set; give the SHA-256 that a job names it by.

    Raises:
        ConfigurationError: It would be too large.
    """
    if sum(array.nbytes for array in arrays.values()) + _BLOCK > MAX_BYTES:
        raise _unusable("TOO_LARGE", path, f"would be larger than {MAX_BYTES} bytes", "take fewer")
    content = io.BytesIO()
    np.savez(content, **dict(arrays))  # type: ignore[arg-type]  # its stub takes the names for flags
    return write_atomically(path, content.getbuffer())


def require_hold_out(job: Job, file: Path | None) -> None:
    """Check that a job's set is there and usable, or that neither job nor person names one.

    Raises:
        ConfigurationError: With a code that begins with `HOLD_OUT_`.
    """
    if job.hold_out is not None:
        read_hold_out(_named(file), job)
    elif file is not None:
        sha256 = sha256_of_file(file) if file.is_file() else "..."
        raise ConfigurationError(
            f"{file} came, and the job has no section [hold_out]",
            hint=f'name it in the job: [hold_out], below it sha256 = "{sha256}"',
            code="HOLD_OUT_NOT_IN_JOB",
        )


def keep_hold_out(folder: Path, job: Job, file: Path | None) -> None:
    """Copy a job's set into the run's folder, where every start of the run finds it.

    Args:
        folder: Of the run.
        job: Of the run.
        file: The set; not needed where the folder has it.

    Raises:
        ConfigurationError: As `require_hold_out` says.
    """
    section, place = job.hold_out, folder / HOLD_OUT_FILE
    if section is not None and place.is_file() and sha256_of_file(place) == section.sha256:
        return
    require_hold_out(job, file)
    if section is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(place, _blocks_of(_named(file)))


def read_hold_out(path: Path, job: Job) -> HoldOutSet:
    """Read and check a set.

    Args:
        path: The file.
        job: With a section `[hold_out]`, which names the file's hash.

    Raises:
        ConfigurationError: `HOLD_OUT_MISSING`, `..._TOO_LARGE`, `..._HASH`, `..._FORM`,
            `..._SHAPE`, `..._NOT_FINITE` or `..._LABELS`.
    """
    if job.hold_out is None:
        raise ValueError("only a job with [hold_out] has a set")
    try:
        with path.open("rb") as file:
            arrays = _arrays_of(path, file, job.hold_out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise _unusable(
            "MISSING", path, f"cannot be read: {reason}", "restore it, or give it with --hold-out"
        ) from error
    return _checked(path, arrays, job, job.hold_out)


def _named(file: Path | None) -> Path:
    if file is None:
        raise ConfigurationError(
            "the job has a section [hold_out], and no file came",
            hint="give the set with --hold-out FILE",
            code="HOLD_OUT_MISSING",
        )
    return file


def _blocks_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _unusable(code: str, path: Path, problem: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"hold-out set {path} {problem}", hint=hint, code=f"HOLD_OUT_{code}")


# -- the file --------------------------------------------------------------------------------------


def _arrays_of(path: Path, file: IO[bytes], section: HoldOutSection) -> Arrays:
    size = file.seek(0, io.SEEK_END)
    if size > MAX_BYTES:
        raise _unusable("TOO_LARGE", path, f"has {size} bytes", f"at most {MAX_BYTES}; take fewer")
    file.seek(0)
    found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # its stub
    if found != section.sha256:
        raise _unusable(
            "HASH", path, f"has SHA-256 {found[:16]}..., the job names {section.sha256[:16]}...",
            f"give the file that the job names, or name this one: {found}",
        )  # fmt: skip
    try:
        with zipfile.ZipFile(file) as archive:
            return {
                info.filename.removesuffix(".npy"): _array_of(archive, info)
                for info in archive.infolist()
            }
    except OSError:
        raise
    except Exception as error:  # a crafted member raises anything, from TokenError to BadZipFile
        raise _unusable(
            "FORM", path, "is no .npz file of plain arrays",
            f"write it with numpy.savez, unpacked; {_MAKE_ONE}",
        ) from error  # fmt: skip


def _array_of(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """Read a member whose header promises no more than there is."""
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > MAX_BYTES:
        raise ValueError("packed")
    with archive.open(info) as member:
        if npy.read_magic(member) != (1, 0):
            raise ValueError("another version")
        shape, _, dtype = npy.read_array_header_1_0(member)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != info.file_size - member.tell():
            raise ValueError("no plain array of this size")
    with archive.open(info) as member:
        array: NDArray[Any] = npy.read_array(member, allow_pickle=False)
        return array


# -- what is in it ---------------------------------------------------------------------------------


def _checked(path: Path, arrays: Arrays, job: Job, section: HoldOutSection) -> HoldOutSet:
    truth_name = "masks" if job.task.kind == "segmentation" else "labels"
    needed = {"images", truth_name}
    if not needed <= arrays.keys() <= needed | {"patients"}:
        raise _unusable(
            "FORM", path, f"holds {', '.join(sorted(arrays))[:200] or 'nothing'}",
            f"images and {truth_name} are needed, patients may be there; {_MAKE_ONE}",
        )  # fmt: skip
    images, truth = arrays["images"], arrays[truth_name]
    patients = arrays.get("patients", np.arange(len(images) if images.ndim else 0))
    _check_shapes(path, job, images, truth, patients, truth_name)
    if not np.isfinite(images).all():
        raise _unusable("NOT_FINITE", path, "has a pixel that is NaN or infinite", "mend the file")
    problem = _problem_of_truth(job, truth, section.metric_of(job.selection_metric))
    if problem:
        raise _unusable("LABELS", path, problem, f"compare it with task.classes; {_MAKE_ONE}")
    is_masks = job.task.kind == "segmentation"
    unknown = NOT_ANNOTATED_VOXEL if is_masks else NOT_ANNOTATED
    rows = truth.reshape(len(truth), -1)
    return HoldOutSet(
        images=images,
        masks=truth.astype(np.uint8) if is_masks else None,
        labels=np.zeros(len(truth), dtype=np.int64) if is_masks else truth.astype(np.int64),
        patients=patients.astype(np.int64),
        num_partly_annotated=int((rows == unknown).any(axis=1).sum()),
    )


def _check_shapes(
    path: Path,
    job: Job,
    images: NDArray[Any],
    truth: NDArray[Any],
    patients: NDArray[Any],
    truth_name: str,
) -> None:
    num_images = len(images) if images.ndim else 0
    size = tuple(job.data.image_size)
    of_truth = {"masks": size, "labels": (len(job.task.classes),) if job.task.multi_label else ()}
    wanted = {
        "images": (images, (job.data.channels, *size), "f"),
        truth_name: (truth, of_truth[truth_name], "iu"),
        "patients": (patients, (), "iu"),
    }
    for name, (array, shape, kinds) in wanted.items():
        is_kind = array.dtype == np.float32 if kinds == "f" else array.dtype.kind in kinds
        if num_images == 0 or array.shape != (num_images, *shape) or not is_kind:
            kind = "float32" if kinds == "f" else "whole numbers"
            numbers = ", ".join(str(n) for n in ("n", *shape))
            raise _unusable(
                "SHAPE", path, f"has {name} of {array.dtype} of shape {array.shape}",
                f"{kind} of shape ({numbers}) are needed, n the same for all and above 0; "
                f"{_MAKE_ONE}",
            )  # fmt: skip


def _problem_of_truth(job: Job, truth: NDArray[Any], metric: str) -> str:
    """Say what makes labels or masks useless for a metric; "" if nothing does."""
    names = job.task.class_names
    is_masks, multi_label = job.task.kind == "segmentation", job.task.multi_label
    unknown = NOT_ANNOTATED_VOXEL if is_masks else NOT_ANNOTATED
    known = truth != unknown if is_masks or multi_label else np.ones_like(truth, dtype=bool)
    most = 1 if multi_label else len(names) - 1
    if (known & ((truth < 0) | (truth > most))).any():
        return f"has labels that are no class: 0 to {most} were needed"
    if not known.reshape(len(truth), -1).any(axis=1).all():
        return "has an image without any label"
    if metric in _NEEDS_NO_CLASS:
        return ""
    if multi_label:
        of_each = [set(truth[:, k].tolist()) >= {0, 1} for k in range(len(names))]
        lacking = [name for name, both in zip(names, of_each, strict=True) if not both]
        return f"has no case with, or none without {lacking[0]!r}" if lacking else ""
    present = set(np.unique(truth).tolist())
    lacking = [name for k, name in enumerate(names) if k not in present and (k or not is_masks)]
    return f"has no case of {lacking[0]!r}, and {metric} needs one of each class" if lacking else ""
