"""`fedward-site predict` as a hospital runs it."""

import json
import stat
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from tests.client.dicomweb.pacs_server import PATIENT_ID, Pacs, running_pacs, status
from tests.client.prediction.tiny_models import (
    series_datasets,
    write_series,
    write_tiny_model,
)
from tests.tiny_federation import tiny_job

from fedward_client.cli import main
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.registered.cohort_folder import CohortFolder
from fedward_client.cohorts.registered.registration import (
    CohortRegistration,
    read_registration,
    write_registration,
)
from fedward_client.dicom.series_layout import layout_of
from fedward_client.dicom.volume_grid import turned_to_lps
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_client.prediction.trained_model import load_model
from fedward_client.site_home import create_site_home


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    """Run the command; give exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", ["fedward-site", "predict", *map(str, arguments)])
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def unet(tmp_path: Path) -> Path:
    """A 2-D segmentation model of random weights."""
    write_tiny_model(tmp_path / "model", "segmentation", "data.image_size=[16,16]")
    return tmp_path / "model"


@pytest.mark.real_data
def test_a_real_series_gets_a_segmentation_of_the_same_geometry(
    data_root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = data_root / "segmentation_hippocampus/dicom_inference/Study1/13_HCropVolume"
    size = "data.image_size=[32,64,64]"
    write_tiny_model(tmp_path / "model", "segmentation", size, "data.modality=MR")
    out = tmp_path / "result.dcm"
    code, said, error = run(
        monkeypatch, capsys, "--model", tmp_path / "model", "--series", series, "--out", out,
        "--json",
    )  # fmt: skip
    assert (code, error) == (0, "")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    sources = {d.SOPInstanceUID: d for d in map(dcmread, sorted(series.iterdir()))}
    first = next(iter(sources.values()))
    seg = highdicom.seg.segread(out)
    assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert (seg.PatientID, seg.StudyInstanceUID) == (first.PatientID, first.StudyInstanceUID)
    uids = list(sources)
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    expected = expected_mask(tmp_path / "model", series)
    for uid, plane in zip(uids, pixels, strict=True):
        np.testing.assert_array_equal(plane, expected[uid])
    table = json.loads(said)
    assert table["classes"][0]["voxels"] == int(pixels.sum()) > 0
    assert table["classes"][0]["volume_ml"] == pytest.approx(pixels.sum() / 1000)  # 1 mm voxels
    for needle in (str(first.PatientID), str(first.PatientName), first.SeriesInstanceUID):
        assert needle not in said


def expected_mask(model_folder: Path, series: Path) -> dict[str, np.ndarray]:
    """The same by hand: pixels from pydicom, one model call, masks by SOPInstanceUID."""
    import SimpleITK
    import torch

    model = load_model(model_folder)
    layout = layout_of([str(path) for path in series.iterdir()])
    stack = np.stack([dcmread(one.locator).pixel_array for one in layout.slices])
    volume, grid = turned_to_lps(stack.astype(np.float64), layout.grid)
    assert grid.steps_mm == layout.grid.steps_mm  # axial already, so no turning back is needed

    def resized(array: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
        image = SimpleITK.GetImageFromArray(array)
        steps = [old / new for old, new in zip(array.shape, size, strict=True)][::-1]
        return np.asarray(SimpleITK.GetArrayFromImage(
            SimpleITK.Resample(
                image, size[::-1], SimpleITK.Transform(), SimpleITK.sitkLinear,
                [(step - 1) / 2 for step in steps], steps, np.eye(3).ravel().tolist(), 0.0,
                image.GetPixelID(), True,
            )
        ))  # fmt: skip

    normal = ((volume - volume.mean()) / volume.std()).astype(np.float32)
    ready = torch.from_numpy(resized(normal, (32, 64, 64)))[None, None]
    with torch.inference_mode():
        shares = model.module(ready).softmax(dim=1)[0].numpy()
    mask = resized(shares[1], volume.shape) > resized(shares[0], volume.shape)
    return {one.sop_instance_uid: mask[n] for n, one in enumerate(layout.slices)}


def test_a_classification_becomes_a_report_and_a_table_without_the_patient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    series = write_series(tmp_path / "series", series_datasets())
    write_tiny_model(tmp_path / "model", "classification", thresholds={"finding": 0.5})
    out = tmp_path / "result.dcm"
    monkeypatch.chdir(series.parent)
    code, said, _ = run(
        monkeypatch, capsys, "--model", tmp_path / "model", "--series", series.name, "--out", out
    )
    assert code == 0
    assert "finding" in said
    assert "Not for clinical use" in said
    assert "eedle" not in said
    assert dcmread(out).Modality == "SR"


@pytest.mark.parametrize(
    ("places_mm", "volume_mm3", "code"),
    [
        ((0, 2.5, 5), 1.25 * 2.5, None),
        ((5, 0, 2.5), 1.25 * 2.5, None),  # the order of file names says nothing
        ((0, 17, 3), None, "E_IRREGULAR_SPACING"),
        ((0,), None, "E_TOO_FEW_SLICES"),
    ],
)
def test_single_images_have_a_volume_only_where_they_make_one(
    tmp_path: Path,
    unet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    places_mm: tuple[float, ...],
    volume_mm3: float | None,
    code: str | None,
) -> None:
    datasets = series_datasets(shape=(3, 8, 10))[: len(places_mm)]
    for dataset, place in zip(datasets, places_mm, strict=True):
        dataset.ImagePositionPatient = [0, 0, place]
    series = write_series(tmp_path / "series", datasets)
    for form in (["--json"], []):
        ended, said, error = run(
            monkeypatch, capsys, "--model", unet, "--series", series,
            "--out", tmp_path / "x.dcm", "--force", *form,
        )  # fmt: skip
        assert (ended, error) == (0, "")
        if form:
            table = json.loads(said)
            [segment] = table["classes"]
            assert segment["voxels"] > 0
            assert table["no_volume_code"] == code
            if volume_mm3 is None:
                assert segment["volume_ml"] is None
            else:
                expected = segment["voxels"] * volume_mm3 / 1000
                assert segment["volume_ml"] == pytest.approx(expected)
        else:
            assert (code is None) == (" ml\n" in said) and (code or "") in said


def test_wrong_use_ends_with_2_and_a_hint_and_leaves_nothing(
    tmp_path: Path,
    unet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    series = write_series(tmp_path / "series", series_datasets())
    taken = tmp_path / "taken.dcm"
    taken.write_bytes(b"old")
    good = {"--model": unet, "--series": series, "--out": tmp_path / "new.dcm"}
    for change, words in (
        ({"--out": None}, "nowhere to go"),
        ({"--out": taken}, "is there already"),
        ({"--model": series}, "model.json"),
        ({"--series": "1.2.3"}, "names no folder"),
        ({"--store": ""}, "has no server"),
    ):
        options = [
            w for k, v in (good | change).items() if v is not None for w in (k, v) if w != ""
        ]
        code, said, error = run(monkeypatch, capsys, *options)
        assert (code, said) == (2, "")
        assert words in error
        assert "hint: " in error
    assert taken.read_bytes() == b"old"
    assert not (tmp_path / "new.dcm").exists()


def test_a_series_that_cannot_be_used_ends_with_1_and_its_code_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    datasets = [d for d in series_datasets() if d.InstanceNumber != 2]
    series = write_series(tmp_path / "series", datasets)
    write_tiny_model(tmp_path / "model", "segmentation", "data.image_size=[16,16,16]")
    code, said, error = run(
        monkeypatch, capsys, "--model", tmp_path / "model", "--series", series,
        "--out", tmp_path / "x.dcm",
    )  # fmt: skip
    assert (code, said) == (1, "")
    assert "E_MISSING_SLICE" in error
    assert not (tmp_path / "x.dcm").exists()


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_series_of_a_registered_cohort_is_found_by_its_uid(
    kind: str,
    tmp_path: Path,
    unet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = create_site_home(tmp_path / "home", split_key=bytes(32))
    datasets = series_datasets()
    series = write_series(tmp_path / "series", datasets)
    with running_pacs() as pacs:
        for dataset in datasets:
            pacs.add(dataset)
        task = tiny_job("segmentation").task
        served = DicomWebSettings(
            url=pacs.url, plain_http_hosts=("127.0.0.1",), studies={"PatientID": PATIENT_ID}
        )
        registration = CohortRegistration(
            name="heads",
            labels_file=str(tmp_path / "labels.csv"),
            task=task,
            cases="series",
            dicom_folder=str(series) if kind == "folder" else "",
            dicomweb=served if kind == "server" else None,
        )
        write_registration(home, registration)
        assert read_registration(home, "heads") == registration
        index_file = CohortFolder(home, "heads").index_file
        with DicomIndex.open(index_file, pseudonym_key=home.pseudonym_key()) as index:
            registration.open_store(home.cache).scan(index)
        common = ["--model", unet, "--home", home.folder, "--cohort", "heads", "--json"]
        uid = datasets[0].SeriesInstanceUID
        code, said, error = run(
            monkeypatch, capsys, *common, "--series", uid, "--out", tmp_path / "x.dcm"
        )
        assert (code, error) == (0, "")
        assert json.loads(said)["num_planes"] == 5
        code, _, error = run(
            monkeypatch, capsys, *common, "--series", "1.2.3", "--out", tmp_path / "y.dcm"
        )
        assert code == 1
        assert "no such series" in error


def write_settings(folder: Path, pacs: Pacs) -> Path:
    path = folder / "pacs.toml"
    path.write_text(f'url = "{pacs.url}"\nplain_http_hosts = ["127.0.0.1"]\n')
    return path


def test_a_series_of_a_server_is_fetched_and_the_result_stored_there(
    tmp_path: Path,
    unet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = create_site_home(tmp_path / "home", split_key=bytes(32))
    with running_pacs() as pacs:
        datasets = series_datasets()
        for dataset in datasets:
            pacs.add(dataset)
        code, said, error = run(
            monkeypatch, capsys, "--model", unet, "--home", home.folder, "--store",
            "--dicomweb", write_settings(tmp_path, pacs),
            "--series", datasets[0].SeriesInstanceUID,
        )  # fmt: skip
        assert (code, error) == (0, "")
        assert "stored by the server" in said
        assert PATIENT_ID not in said
        stored = [key for key in pacs.files if key[1] != datasets[0].SeriesInstanceUID]
        assert [key[0] for key in stored] == [datasets[0].StudyInstanceUID]
    assert list((home.cache / "dicomweb").iterdir()) == []


def test_what_the_server_refuses_is_not_lost(
    tmp_path: Path,
    unet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = create_site_home(tmp_path / "home", split_key=bytes(32))
    series = write_series(tmp_path / "series", series_datasets())
    out = tmp_path / "x.dcm"
    with running_pacs() as pacs:
        pacs.fail("studies", status(403))
        code, _, error = run(
            monkeypatch, capsys, "--model", unet, "--home", home.folder, "--store",
            "--dicomweb", write_settings(tmp_path, pacs), "--series", series, "--out", out,
        )  # fmt: skip
    assert code == 1
    assert "HTTP 403" in error
    assert dcmread(out).Modality == "SEG"
