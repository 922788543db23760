import csv
import dataclasses
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from numpy.typing import NDArray
from tests.tiny_federation import SIDE, pictures_of, tiny_job, write_site

from fedward_client.dicomizing.dicomize import dicomize
from fedward_common.errors import ConfigurationError
from fedward_common.job.job_file import Job, job_from_table, table_of_job
from fedward_common.settings import with_overrides

Tables = Mapping[str, Any]


def run(
    folder: Path, tables: Tables, job: Job | None = None, out: str = "out"
) -> list[dict[str, Any]]:
    (folder / out).mkdir()
    sites = {"sites": tables}
    return dicomize(sites, folder, job or tiny_job(), folder / out, lambda *_: None)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def datasets_in(folder: Path) -> dict[str, pydicom.Dataset]:
    files = [pydicom.dcmread(path) for path in folder.rglob("*.dcm")]
    return {str(ds.SOPInstanceUID): ds for ds in files}


def job_with(kind: str, *overrides: str) -> Job:
    return job_from_table(with_overrides(table_of_job(tiny_job(kind)), list(overrides)))


def write_manifest(folder: Path, name: str, rows: Sequence[Mapping[str, str]]) -> None:
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_arrays(folder: Path, images: NDArray[Any], cells: Mapping[str, Any]) -> dict[str, Any]:
    """Write one site of arrays; `cells` are columns beside the file."""
    np.savez(folder / "site.npz", images=images)
    columns = {key: [str(v) for v in values] for key, values in cells.items()}
    rows = [
        {"file": f"images[{n}]", **{key: values[n] for key, values in columns.items()}}
        for n in range(len(images))
    ]
    write_manifest(folder, "site.csv", rows)
    return {"source": "arrays", "path": "site.npz", "manifest": "site.csv"}


def test_images_labels_and_order_are_those_of_the_manifest(tmp_path: Path) -> None:
    pictures = pictures_of("alder")
    tables = {"alder": write_site(tmp_path, "alder", pictures)}
    made = run(tmp_path, tables)
    found = datasets_in(tmp_path / "out" / "alder" / "dicom")
    rows = rows_of(tmp_path / "out" / "alder" / "labels.csv")
    assert len(rows) == len(pictures) == made[0]["cases"] == made[0]["files"] == len(found)
    for row, picture in zip(rows, pictures, strict=True):
        ds = found[row["sop_instance_uid"]]
        np.testing.assert_array_equal(ds.pixel_array, picture.image)
        assert ds.PatientID == picture.row["patient"]
        assert row["label"] == ["normal", "finding"][int(picture.row["label"])]
        assert row["split"] == picture.row["split"]
        assert ds.BurnedInAnnotation == "NO"
    assert made[0]["largest_error"] == 0
    assert made[0]["excluded"] == {}


def test_masks_become_segmentations_of_their_images(tmp_path: Path) -> None:
    pictures = pictures_of("alder")
    run(tmp_path, {"alder": write_site(tmp_path, "alder", pictures)}, tiny_job("segmentation"))
    found = datasets_in(tmp_path / "out" / "alder" / "dicom")
    for row, picture in zip(
        rows_of(tmp_path / "out" / "alder" / "labels.csv"), pictures, strict=True
    ):
        seg = highdicom.seg.Segmentation.from_dataset(found[row["seg_sop_instance_uid"]])
        mask = seg.get_pixels_by_source_instance(
            [row["sop_instance_uid"]], combine_segments=True, ignore_spatial_locations=True
        )
        np.testing.assert_array_equal(mask[0], picture.mask)
        assert "label" not in row


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    tables = {"alder": write_site(tmp_path, "alder", pictures_of("alder"))}
    for out in ("one", "two"):
        run(tmp_path, tables, tiny_job("segmentation"), out)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert len(files) > 20
    for file in files:
        if (tmp_path / "one" / file).is_file():
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_where_there_are_no_patients_each_image_has_an_id_and_keeps_its_locator(
    tmp_path: Path,
) -> None:
    table = write_site(tmp_path, "alder", pictures_of("alder"), unit="image")
    made = run(tmp_path, {"alder": table})
    rows = rows_of(tmp_path / "out" / "alder" / "labels.csv")
    assert [row["image_id"] for row in rows] == [f"images[{n}]" for n in range(len(rows))]
    found = datasets_in(tmp_path / "out" / "alder" / "dicom")
    ids = [found[row["sop_instance_uid"]].PatientID for row in rows]
    assert ids == [f"alder-{n + 1:06}" for n in range(len(rows))]
    assert made[0]["register"][-2:] == ["--unit", "image"]


def test_a_lesion_id_has_a_column_of_its_own(tmp_path: Path) -> None:
    table = write_site(tmp_path, "alder", pictures_of("alder"), unit="lesion")
    run(tmp_path, {"alder": table})
    rows = rows_of(tmp_path / "out" / "alder" / "labels.csv")
    assert rows[0]["lesion_id"] == "alder-0"


def test_what_the_source_leaves_out_is_left_out_and_counted(tmp_path: Path) -> None:
    pictures = pictures_of("alder")
    pictures[3].row["label"] = "7"
    pictures[5].row["split"] = "whenever"
    table = write_site(tmp_path, "alder", pictures)
    made = run(tmp_path, {"alder": table})
    assert made[0]["excluded"] == {"E_LABEL_VALUE": 1, "E_SPLIT_VALUE": 1}
    assert made[0]["listed"] == made[0]["cases"] + 2 == len(pictures)


def test_floats_are_rescaled_and_the_loss_is_told(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 1e5, (12, SIDE, SIDE)).astype(np.float32)
    table = write_arrays(tmp_path, images, {"label": [0, 1] * 6, "patient": range(12)})
    made = run(tmp_path, {"site": table})
    found = datasets_in(tmp_path / "out" / "site" / "dicom")
    for row, image in zip(rows_of(tmp_path / "out" / "site" / "labels.csv"), images, strict=True):
        ds = found[row["sop_instance_uid"]]
        values = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
        np.testing.assert_allclose(values, image, atol=made[0]["largest_error"] * 1.01)
    assert 0 < made[0]["largest_error"] < 1


def test_colour_stays_as_it_is(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, SIDE, SIDE, 3)).astype(np.uint8)
    table = write_arrays(tmp_path, images, {"label": [0, 1] * 6, "patient": range(12)})
    run(tmp_path, {"site": table}, job_with("classification", "data.channels=3"))
    found = datasets_in(tmp_path / "out" / "site" / "dicom")
    for row, image in zip(rows_of(tmp_path / "out" / "site" / "labels.csv"), images, strict=True):
        np.testing.assert_array_equal(found[row["sop_instance_uid"]].pixel_array, image)


def test_colour_of_more_than_8_bits_is_left_out(tmp_path: Path) -> None:
    images = np.full((12, SIDE, SIDE, 3), 300, dtype=np.uint16)
    table = write_arrays(tmp_path, images, {"label": [0, 1] * 6, "patient": range(12)})
    made = run(tmp_path, {"site": table}, job_with("classification", "data.channels=3"))
    assert made[0]["excluded"] == {"E_PIXEL_FORMAT": 12}


def volume_site(folder: Path, direction: Sequence[float]) -> dict[str, Any]:
    """Write one volume with a mask, stored in this direction."""
    draw = np.random.default_rng(3)
    image = SimpleITK.GetImageFromArray(draw.integers(-900, 900, (5, 6, 7)).astype(np.int16))
    mask = SimpleITK.GetImageFromArray((draw.random((5, 6, 7)) < 0.3).astype(np.uint8))
    for one, name in ((image, "image"), (mask, "mask")):
        one.SetSpacing((0.5, 0.75, 2.5))
        one.SetOrigin((10.0, -20.0, 30.0))
        one.SetDirection(list(direction))
        SimpleITK.WriteImage(one, str(folder / f"{name}.nii.gz"))
    rows = [{"file": "image.nii.gz", "mask": "mask.nii.gz", "patient": "p-1", "split": "train"}]
    write_manifest(folder, "volumes.csv", rows)
    return {"source": "volumes", "path": ".", "manifest": "volumes.csv"}


VOLUME_JOB = ("data.image_size=[8,8,8]", "model.name=unet")


@pytest.mark.parametrize(
    "direction",
    [
        (1, 0, 0, 0, 1, 0, 0, 0, 1),
        (-1, 0, 0, 0, -1, 0, 0, 0, 1),
        (0.8, -0.6, 0, 0.6, 0.8, 0, 0, 0, 1),
    ],
)
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_a_volume_keeps_its_place_and_its_values(
    tmp_path: Path, direction: Sequence[float], modality: str
) -> None:
    job = job_with("segmentation", *VOLUME_JOB, f"data.modality={modality}")
    run(tmp_path, {"site": volume_site(tmp_path, direction)}, job)
    row = rows_of(tmp_path / "out" / "site" / "labels.csv")[0]
    found = datasets_in(tmp_path / "out" / "site" / "dicom")
    slices = [ds for ds in found.values() if ds.SeriesInstanceUID == row["series_instance_uid"]]
    volume = highdicom.get_volume_from_series(slices).to_simpleitk()
    original = SimpleITK.ReadImage(str(tmp_path / "image.nii.gz"))
    same_grid = SimpleITK.Resample(
        SimpleITK.Cast(volume, SimpleITK.sitkFloat64), original, SimpleITK.Transform(),
        SimpleITK.sitkNearestNeighbor, -9999.0,
    )  # fmt: skip
    np.testing.assert_array_equal(
        SimpleITK.GetArrayFromImage(same_grid), SimpleITK.GetArrayFromImage(original)
    )
    assert slices[0].Modality == modality
    seg = found[row["seg_sop_instance_uid"]]
    truth = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "mask.nii.gz")))
    assert seg.pixel_array.sum() == truth.sum()


def test_what_nobody_looked_at_is_told_to_the_registration(tmp_path: Path) -> None:
    images = np.zeros((12, SIDE, SIDE), dtype=np.uint8)
    cells = {"label": ["0", "1", "?"] * 4, "patient": range(12)}
    table = write_arrays(tmp_path, images, cells) | {
        "labels": {"0": "normal", "1": "finding", "?": "not annotated"}
    }
    made = run(tmp_path, {"site": table})
    labels = [row["label"] for row in rows_of(tmp_path / "out" / "site" / "labels.csv")]
    assert labels == ["normal", "finding", "unknown"] * 4
    maps = [text for text in made[0]["register"] if "=" in text]
    assert maps == ["normal=normal", "finding=finding", "unknown=not annotated"]


def test_sites_that_cannot_be_wrapped_are_refused(tmp_path: Path) -> None:
    table = write_site(tmp_path, "alder", pictures_of("alder"))
    other = {**table, "unit": "image"}
    dicom = {**table, "source": "dicom-folder", "path": "."}
    refused: list[Tables] = [{"alder": [table, other]}, {"alder": dicom}]
    for number, tables in enumerate(refused):
        with pytest.raises(ConfigurationError):
            run(tmp_path, tables, out=f"out{number}")


@pytest.mark.parametrize("patient", ["x" * 65, "a\\b", "a\tb"])
def test_a_patient_id_that_dicom_cannot_hold_is_refused_by_its_line_alone(
    tmp_path: Path, patient: str
) -> None:
    pictures = pictures_of("alder")
    pictures[2].row["patient"] = patient
    table = write_site(tmp_path, "alder", pictures)
    with pytest.raises(ConfigurationError) as raised:
        run(tmp_path, {"alder": table})
    assert "line 4" in str(raised.value)
    assert patient not in str(raised.value)


def test_the_files_for_going_on_name_every_site(tmp_path: Path) -> None:
    tables = {site: write_site(tmp_path, site, pictures_of(site)) for site in ("alder", "birch")}
    tables["alder"] |= {"max_excluded_share": 0.5}
    made = run(tmp_path, tables)
    sites = tomllib.loads((tmp_path / "out" / "cohorts.toml").read_text("utf-8"))["sites"]
    assert sites["alder"] == {
        "source": "registered", "path": "homes/alder", "cohort": "main", "max_excluded_share": 0.5,
    }  # fmt: skip
    script = (tmp_path / "out" / "register.sh").read_text("utf-8")
    assert script.count("fedward-site cohort add main") == 2
    assert "--max-excluded-share 0.5" in script
    assert str(tmp_path) not in script
    assert [one["site"] for one in made] == ["alder", "birch"]


def test_multi_label_findings_have_a_column_each(tmp_path: Path) -> None:
    job = job_with("classification")
    task = dataclasses.replace(job.task, multi_label=True)
    images = np.zeros((12, SIDE, SIDE), dtype=np.uint8)
    cells = {"normal": [0, 1] * 6, "finding": [1, 0, 1] * 4, "patient": range(12)}
    table = write_arrays(tmp_path, images, cells)
    run(tmp_path, {"site": table}, dataclasses.replace(job, task=task))
    rows = rows_of(tmp_path / "out" / "site" / "labels.csv")
    assert [row["normal"] for row in rows] == ["0", "1"] * 6
    assert [row["finding"] for row in rows] == ["1", "0", "1"] * 4
