"""A hold-out set is taken as a whole or refused by name, whatever is wrong with its file."""

import hashlib
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.hold_out_sets import Arrays, public_arrays, saved
from tests.multi_label_pictures import findings_job
from tests.tiny_federation import changed, tiny_job

from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job
from fedward_server.coordinator import hold_out_set
from fedward_server.coordinator.hold_out_set import (
    HOLD_OUT_FILE,
    keep_hold_out,
    read_hold_out,
    require_hold_out,
)

KINDS = ("classification", "segmentation")
Array = NDArray[Any]


def naming(job: Job, sha256: str, *overrides: str) -> Job:
    return changed(job, f"hold_out.sha256={sha256}", *overrides)


def refusal(file: Path, job: Job) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        read_hold_out(file, job)
    assert str(file) in str(caught.value)
    assert caught.value.hint
    return caught.value


def refusal_of_bytes(folder: Path, content: bytes) -> ConfigurationError:
    file = folder / "set.npz"
    file.write_bytes(content)
    return refusal(file, naming(tiny_job(), hashlib.sha256(content).hexdigest()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_of_the_jobs_own_form_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    arrays = public_arrays(tmp_path / "public", tiny_job(kind))
    file, sha256 = saved(tmp_path, arrays)
    held = read_hold_out(file, naming(tiny_job(kind), sha256))
    np.testing.assert_array_equal(held.images, arrays["images"])
    np.testing.assert_array_equal(held.patients, arrays["patients"])
    truth = held.labels if held.masks is None else held.masks
    np.testing.assert_array_equal(truth, arrays["labels" if held.masks is None else "masks"])
    assert held.num_partly_annotated == 0
    assert len(set(held.patients)) < len(held.patients)  # some patients have two images


def test_the_same_arrays_give_the_same_hash(tmp_path: Path) -> None:
    arrays = public_arrays(tmp_path / "public", tiny_job())
    (tmp_path / "other").mkdir()
    assert saved(tmp_path, arrays)[1] == saved(tmp_path / "other", arrays)[1]


def test_without_patients_each_image_is_one(tmp_path: Path) -> None:
    arrays = public_arrays(tmp_path / "public", tiny_job())
    del arrays["patients"]
    file, sha256 = saved(tmp_path, arrays)
    held = read_hold_out(file, naming(tiny_job(), sha256))
    np.testing.assert_array_equal(held.patients, np.arange(len(arrays["images"])))


def test_voxels_that_nobody_looked_at_are_counted_and_kept(tmp_path: Path) -> None:
    arrays = public_arrays(tmp_path / "public", tiny_job("segmentation"))
    arrays["masks"][3, :4] = 255
    file, sha256 = saved(tmp_path, arrays)
    assert read_hold_out(file, naming(tiny_job("segmentation"), sha256)).num_partly_annotated == 1


def test_findings_may_be_not_annotated_but_each_needs_a_case_with_and_one_without(
    tmp_path: Path,
) -> None:
    job = findings_job()
    size, num_classes = (job.data.channels, *job.data.image_size), len(job.task.classes)
    labels = np.zeros((4, num_classes), dtype=np.int8)
    labels[1], labels[2, 1:] = 1, -1
    arrays: Arrays = {"images": np.zeros((4, *size), dtype=np.float32), "labels": labels}
    file, sha256 = saved(tmp_path, arrays)
    assert read_hold_out(file, naming(job, sha256)).num_partly_annotated == 1
    labels[:, 0] = 1
    file, sha256 = saved(tmp_path, arrays)
    error = refusal(file, naming(job, sha256))
    assert error.code == "HOLD_OUT_LABELS"
    assert job.task.class_names[0] in str(error)


# -- the file --------------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    error = refusal(tmp_path / "set.npz", naming(tiny_job(), "0" * 64))
    assert error.code == "HOLD_OUT_MISSING"


def test_a_file_of_another_hash_is_named_before_anything_in_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    file.write_bytes(b"anything")
    error = refusal(file, naming(tiny_job(), "0" * 64))
    assert error.code == "HOLD_OUT_HASH"
    assert hashlib.sha256(b"anything").hexdigest() in error.hint


def test_a_file_beyond_the_bound_is_refused_by_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, sha256 = saved(tmp_path, public_arrays(tmp_path / "public", tiny_job()))
    monkeypatch.setattr(hold_out_set, "MAX_BYTES", 1000)
    assert refusal(file, naming(tiny_job(), sha256)).code == "HOLD_OUT_TOO_LARGE"
    with pytest.raises(ConfigurationError) as caught:
        saved(tmp_path, {"images": np.zeros(1000, dtype=np.float32)})
    assert caught.value.code == "HOLD_OUT_TOO_LARGE"


def npz_with(member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        archive.writestr("images.npy", member)
    return content.getvalue()


def npy_of(array: object) -> bytes:
    content = io.BytesIO()
    np.save(content, np.asarray(array), allow_pickle=True)
    return content.getvalue()


NO_ARCHIVES: dict[str, bytes] = {
    "empty": b"",
    "text": b"images, labels\n",
    "a bare array": npy_of(np.zeros(3)),
    "cut short": npz_with(npy_of(np.zeros(300)))[:900],
    "packed": npz_with(npy_of(np.zeros(300)), zipfile.ZIP_DEFLATED),
    "pickled": npz_with(npy_of([os.system])),
    "no array": npz_with(b"GIF89a"),
    "more promised than there is": npz_with(
        npy_of(np.zeros(3)).replace(b"(3,), }      ", b"(3000000,), }")
    ),
    "of another version": npz_with(b"\x93NUMPY\x02\x00" + bytes(40)),
}


@pytest.mark.parametrize("content", NO_ARCHIVES.values(), ids=NO_ARCHIVES)
def test_a_file_that_is_no_plain_archive_is_refused_and_nothing_is_unpickled(
    tmp_path: Path, content: bytes
) -> None:
    assert refusal_of_bytes(tmp_path, content).code == "HOLD_OUT_FORM"


# -- what is in it ---------------------------------------------------------------------------------


def _without(*names: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {name: a for name, a in arrays.items() if name not in names}


def _with(name: str, change: Callable[[Array], Array]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, name: change(arrays[name].copy())}


def _put(value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array.flat[array.size // 2] = value
        return array

    return change


WRONG: dict[str, tuple[Callable[[Arrays], Arrays], str]] = {
    "no images": (_without("images"), "FORM"),
    "no labels": (_without("labels"), "FORM"),
    "something else": (lambda arrays: {**arrays, "notes": arrays["labels"]}, "FORM"),
    "masks for labels": (
        lambda arrays: {"images": arrays["images"], "masks": arrays["labels"]}, "FORM",
    ),
    "no case": (lambda arrays: {name: a[:0] for name, a in arrays.items()}, "SHAPE"),
    "no channel axis": (_with("images", lambda a: a[:, 0]), "SHAPE"),
    "another size": (_with("images", lambda a: a[..., :-1]), "SHAPE"),
    "float64": (_with("images", lambda a: a.astype(np.float64)), "SHAPE"),
    "big-endian": (_with("images", lambda a: a.astype(">f4")), "SHAPE"),
    "a number": (_with("images", lambda a: np.array(np.float32(3))), "SHAPE"),
    "a label too few": (_with("labels", lambda a: a[:-1]), "SHAPE"),
    "labels of floats": (_with("labels", lambda a: a.astype(np.float32)), "SHAPE"),
    "a patient too few": (_with("patients", lambda a: a[:-1]), "SHAPE"),
    "NaN": (_with("images", _put(np.nan)), "NOT_FINITE"),
    "infinity": (_with("images", _put(np.inf)), "NOT_FINITE"),
    "a label above the classes": (_with("labels", _put(2)), "LABELS"),
    "a label below the classes": (_with("labels", _put(-1)), "LABELS"),
    "one class alone": (_with("labels", lambda a: a * 0), "LABELS"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "code"), WRONG.values(), ids=WRONG)
def test_arrays_that_do_not_fit_the_job_are_refused_by_name(
    tmp_path: Path, change: Callable[[Arrays], Arrays], code: str
) -> None:
    file, sha256 = saved(tmp_path, change(public_arrays(tmp_path / "public", tiny_job())))
    assert refusal(file, naming(tiny_job(), sha256)).code == f"HOLD_OUT_{code}"


def test_one_class_alone_has_an_accuracy_and_no_auc(tmp_path: Path) -> None:
    arrays = public_arrays(tmp_path / "public", tiny_job())
    arrays["labels"][:] = 1
    file, sha256 = saved(tmp_path, arrays)
    job = naming(tiny_job(), sha256, "hold_out.metric=accuracy")
    assert (read_hold_out(file, job).labels == 1).all()


WRONG_MASKS: dict[str, Callable[[Arrays], Arrays]] = {
    "a class too many": _with("masks", _put(2)),
    "nobody looked at one": _with("masks", lambda a: np.concatenate([a[:-1], a[-1:] | 255])),
    "no structure": _with("masks", lambda a: a * 0),
}


@pytest.mark.parametrize("change", WRONG_MASKS.values(), ids=WRONG_MASKS)
def test_masks_that_do_not_fit_the_job_are_refused_by_name(
    tmp_path: Path, change: Callable[[Arrays], Arrays]
) -> None:
    job = tiny_job("segmentation")
    file, sha256 = saved(tmp_path, change(public_arrays(tmp_path / "public", job)))
    assert refusal(file, naming(job, sha256)).code == "HOLD_OUT_LABELS"


# -- kept with a run -------------------------------------------------------------------------------


def test_a_set_that_no_job_names_is_refused_with_what_to_write(tmp_path: Path) -> None:
    file, sha256 = saved(tmp_path, public_arrays(tmp_path / "public", tiny_job()))
    with pytest.raises(ConfigurationError) as caught:
        require_hold_out(tiny_job(), file)
    assert caught.value.code == "HOLD_OUT_NOT_IN_JOB"
    assert sha256 in caught.value.hint


def test_a_job_that_names_a_set_needs_the_file_once(tmp_path: Path) -> None:
    file, sha256 = saved(tmp_path, public_arrays(tmp_path / "public", tiny_job()))
    job, run = naming(tiny_job(), sha256), tmp_path / "run"
    with pytest.raises(ConfigurationError) as caught:
        keep_hold_out(run, job, None)
    assert (caught.value.code, run.exists()) == ("HOLD_OUT_MISSING", False)
    keep_hold_out(run, job, file)
    kept = (run / HOLD_OUT_FILE).read_bytes()
    assert kept == file.read_bytes()
    file.unlink()
    keep_hold_out(run, job, None)
    (run / HOLD_OUT_FILE).write_bytes(kept[:-1])
    with pytest.raises(ConfigurationError):
        keep_hold_out(run, job, None)
    file.write_bytes(kept)
    keep_hold_out(run, job, file)
    assert (run / HOLD_OUT_FILE).read_bytes() == kept


def test_a_run_without_a_set_gets_no_file(tmp_path: Path) -> None:
    keep_hold_out(tmp_path, tiny_job(), None)
    assert list(tmp_path.iterdir()) == []
