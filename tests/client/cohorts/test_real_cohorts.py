"""The public images of the data root, read as a site would read them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, KEY

from fedward_client.cohorts.cohort_file import ColumnsSection, SourceSettings
from fedward_client.cohorts.open_source import open_source
from fedward_client.cohorts.source import SPLITS, UnusableCaseError
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_common.job.job_file import DataSection, TaskClass, TaskSection

pytestmark = pytest.mark.real_data

HIPPOCAMPUS = TaskSection(
    kind="segmentation",
    classes=(TaskClass(0, "background"), TaskClass(1, "anterior"), TaskClass(2, "posterior")),
)
SKIN = TaskSection(
    kind="classification",
    classes=tuple(
        TaskClass(*c) for c in enumerate(["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"])
    ),
)


def settings_of(data_root: Path, path: str, manifest: str, **others: Any) -> SourceSettings:
    return SourceSettings(path=path, manifest=manifest, **others).placed_below(data_root)


def counts(view: JobView) -> list[int]:
    return [view.num_cases(split) for split in SPLITS]


def pneumonia(data_root: Path, **others: Any) -> SourceSettings:
    folder = "classification_pneumoniamnist"
    return settings_of(
        data_root, f"{folder}/pneumoniamnist.npz", f"{folder}/manifest.csv", source="arrays",
        unit="image", **others,
    )  # fmt: skip


def test_pneumonia_of_hospital_a(data_root: Path, tmp_path: Path) -> None:
    source = pneumonia(data_root, filter={"site_simulated": "hospA"}, labels={"0": 0, "1": 1})
    data = DataSection(modality="CXR", image_size=(28, 28), intensity="window")
    view = prepare_job_view(tmp_path, [source], CLASSIFY, data, KEY)
    assert counts(view) == [2519, 285, 270]
    assert view.exclusions == {} and view.num_patients("train") == 2519
    assert -2 <= view.images.min() < view.images.max() <= 2


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        ("acqA_uint8", [20, 3, 5]),
        ("acqB_float_1e3", [59, 10, 17]),
        ("acqC_float_1e5", [11, 2, 3]),
    ],
)
def test_hippocampus_clusters(
    cluster: str, expected: list[int], data_root: Path, tmp_path: Path
) -> None:
    folder = "segmentation_hippocampus"
    source = settings_of(
        data_root, folder, f"{folder}/manifest.csv", source="volumes",
        filter={"site_acquisition_cluster": cluster},
    )  # fmt: skip
    data = DataSection(modality="MR", image_size=(32, 48, 32), fit="crop-or-pad")
    view = prepare_job_view(tmp_path, [source], HIPPOCAMPUS, data, KEY)
    assert counts(view) == expected
    assert view.exclusions == {}
    assert view.masks is not None and set(np.unique(view.masks)) == {0, 1, 2}


def test_skin_lesions_from_the_zip(data_root: Path, tmp_path: Path) -> None:
    folder = "classification_ham10000_4site"
    source = settings_of(
        data_root, f"{folder}/images_64.zip", f"{folder}/manifest.csv", source="image-archive",
        filter={"site": "vienna_dias"}, unit="lesion",
        columns=ColumnsSection(patient="patient(lesion_id)"),
    )  # fmt: skip
    data = DataSection(modality="dermatoscopy", image_size=(64, 64), channels=3)
    view = prepare_job_view(tmp_path, [source], SKIN, data, KEY)
    assert sum(counts(view)) == 220 and view.exclusions == {}
    assert view.images.shape == (220, 3, 64, 64) and view.unit == "lesion"


def test_the_tiny_demo_of_x_rays_and_volumes(data_root: Path, tmp_path: Path) -> None:
    xrays = settings_of(
        data_root, "demo_tiny/cxr_384.npz", "demo_tiny/cxr_manifest.csv", source="arrays",
        unit="image", columns=ColumnsSection(image="index"),
    )  # fmt: skip
    data = DataSection(modality="CXR", image_size=(28, 28))
    view = prepare_job_view(tmp_path, [xrays], CLASSIFY, data, KEY)
    with np.load(data_root / "demo_tiny" / "cxr_384.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(view.labels, archive["labels"])
    volumes = settings_of(
        data_root, "demo_tiny/hippocampus_12.npz", "demo_tiny/hippocampus_manifest.csv",
        source="arrays", columns=ColumnsSection(image="image"),
    )  # fmt: skip
    size = DataSection(modality="MR", image_size=(32, 48, 40))
    masks = prepare_job_view(tmp_path, [volumes], HIPPOCAMPUS, size, KEY)
    assert sum(counts(masks)) == 12 and masks.exclusions == {}


@pytest.mark.parametrize(("group", "num_decoded"), [("codec", 13), ("image", 12)])
def test_the_zoo_decodes_as_its_manifest_says(
    group: str, num_decoded: int, data_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = settings_of(
        data_root, "dicom-zoo", "dicom-zoo/manifest.csv", source="dicom-folder", unit="image",
        filter={"group": group}, columns=ColumnsSection(label="group"), labels={group: 0},
    )  # fmt: skip
    with (data_root / "dicom-zoo" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = dict(enumerate(csv.DictReader(file), start=2))
    images, codes = decoded(source, CLASSIFY)
    assert len(images) >= num_decoded
    for line, image in images.items():
        row = rows[line]
        if row["photometric"] == "MONOCHROME2" and not row["rescale_slope"]:
            np.testing.assert_allclose(image.min(), float(row["pixel_min"]), rtol=1e-6)
            np.testing.assert_allclose(image.max(), float(row["pixel_max"]), rtol=1e-6)
        if not row["photometric"].startswith("MONOCHROME"):
            assert image.shape[0] == 3
            assert 128 <= image.max() <= 255
    for line, code in codes.items():
        several = int(rows[line]["frames"] or 1) > 1
        assert several or "12-bit" in rows[line]["quirk"]
        assert code == ("E_IMAGE_SHAPE" if several else "E_TRANSFER_SYNTAX")
    assert not caplog.records


def decoded(
    settings: SourceSettings, task: TaskSection
) -> tuple[dict[int, np.ndarray], dict[int, str]]:
    """Images and codes of a DICOM folder, by line."""
    source = open_source(settings, task, DataSection(modality="CT", image_size=(64, 64)))
    images, codes = {}, {}
    for case in source.cases().cases:
        try:
            images[case.line] = source.read_image(case)
        except UnusableCaseError as error:
            codes[case.line] = error.code
    return images, codes


@pytest.mark.parametrize("group", ["broken", "structure", "nonimage", "phi", "charset", "seg"])
def test_strange_files_of_the_zoo_are_counted_and_nothing_is_told_of_them(
    group: str,
    data_root: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source = settings_of(
        data_root, "dicom-zoo", "dicom-zoo/manifest.csv", source="dicom-folder",
        filter={"group": group}, columns=ColumnsSection(label="group"), labels={group: 0},
    )  # fmt: skip
    images, codes = decoded(source, CLASSIFY)
    assert images or codes or group == "broken"
    with (data_root / "dicom-zoo" / "manifest.csv").open(newline="", encoding="utf-8") as file:
        names = {part for row in csv.DictReader(file) for part in row["patient_name"].split("^")}
    captured = capfd.readouterr()  # C decoders may complain there, but know no header
    assert not any(name in captured.err + captured.out for name in names if len(name) > 3)
    assert not caplog.records
