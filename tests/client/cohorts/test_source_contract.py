"""What every kind of source keeps: `CohortSource`."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.client.cohorts.small_cohorts import (
    CLASSIFY,
    DATA,
    KINDS,
    SEGMENT,
    Format,
    mask,
    pixels,
    write_cohort,
)

from fedward_client.cohorts.cohort_file import SourceKind, SourceSettings
from fedward_client.cohorts.open_source import open_source
from fedward_client.cohorts.source import CohortSource, UnusableCaseError
from fedward_common.errors import CohortError, ConfigurationError
from fedward_common.job.job_file import TaskSection


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> SourceKind:
    found: SourceKind = request.param
    return found


class Opened:
    """Opens sources and closes them at the end of the test."""

    def __init__(self) -> None:
        self.sources: list[CohortSource] = []

    def __call__(self, settings: SourceSettings, task: TaskSection = CLASSIFY) -> CohortSource:
        self.sources.append(open_source(settings, task, DATA))
        return self.sources[-1]


@pytest.fixture
def opened() -> Iterator[Opened]:
    made = Opened()
    yield made
    for source in made.sources:
        source.close()


def codes(source: CohortSource) -> list[tuple[str, int]]:
    return [(e.code, e.line) for e in source.cases().exclusions]


def test_every_line_becomes_a_case_with_its_label_split_and_line(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    listed = opened(write_cohort(kind, tmp_path)).cases()
    assert listed.exclusions == ()
    assert [c.line for c in listed.cases] == [2, 3, 4, 5, 6, 7]
    assert [c.label for c in listed.cases] == [0, 1, 0, 1, 0, 1]
    assert [c.split for c in listed.cases[:4]] == ["train", "train", "validation", "test"]
    assert listed.cases[3].patient == "SECRET-3"


def test_the_pixels_come_back_as_they_were_stored(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    source = opened(write_cohort(kind, tmp_path))
    for number, case in enumerate(source.cases().cases):
        image = source.read_image(case)
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, pixels(number)[np.newaxis])


def test_the_mask_comes_back_as_it_was_stored(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    source = opened(write_cohort(kind, tmp_path), SEGMENT)
    case = source.cases().cases[1]
    assert case.label is None
    found = source.read_mask(case)
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, mask(1))


def test_a_missing_file_is_one_exclusion(kind: SourceKind, tmp_path: Path, opened: Opened) -> None:
    settings = write_cohort(kind, tmp_path, changes={2: {"file": "nowhere"}, 4: {"file": ""}})
    source = opened(settings)
    assert codes(source) == [("E_FILE_NOT_FOUND", 4), ("E_FILE_NOT_FOUND", 6)]
    assert len(source.cases().cases) == 4


@pytest.mark.parametrize(
    "locator", ["../outside", "/etc/passwd", "a/../../outside", "..\\up", "C:\\x"]
)
def test_a_locator_cannot_leave_the_source(
    kind: SourceKind, locator: str, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "outside").write_bytes(b"secret")
    source = opened(write_cohort(kind, tmp_path, changes={0: {"file": locator}}))
    assert codes(source) == [("E_PATH_ESCAPES", 2)]
    assert not any("outside" in str(path) for path in source.files())


def test_a_truncated_image_is_unreadable_and_its_neighbours_are_not(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    made = Format(kind, tmp_path)
    whole = made.encode(pixels(1))
    settings = write_cohort(kind, tmp_path, extra_files={made.name("i1"): whole[: len(whole) - 40]})
    source = opened(settings)
    cases = source.cases().cases
    with pytest.raises(UnusableCaseError) as raised:
        source.read_image(cases[1])
    assert raised.value.code == "E_IMAGE_UNREADABLE"
    np.testing.assert_array_equal(source.read_image(cases[2])[0], pixels(2))


def test_a_truncated_mask_is_unreadable(kind: SourceKind, tmp_path: Path, opened: Opened) -> None:
    made = Format(kind, tmp_path)
    whole = made.encode(mask(1), is_mask=True)
    settings = write_cohort(kind, tmp_path, extra_files={made.name("m1"): whole[: len(whole) - 40]})
    source = opened(settings, SEGMENT)
    with pytest.raises(UnusableCaseError) as raised:
        source.read_mask(source.cases().cases[1])
    assert raised.value.code == "E_MASK_UNREADABLE"


def test_labels_splits_and_patients_that_mean_nothing_are_counted_by_code(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    changes = {0: {"label": "7"}, 1: {"split": "holdout"}, 2: {"patient": " "}, 3: {"label": ""}}
    source = opened(write_cohort(kind, tmp_path, changes=changes))
    assert codes(source) == [
        ("E_LABEL_VALUE", 2), ("E_SPLIT_VALUE", 3), ("E_PATIENT_MISSING", 4), ("E_LABEL_VALUE", 5)
    ]  # fmt: skip


def test_with_unit_image_each_image_is_its_own_patient(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    source = opened(write_cohort(kind, tmp_path, unit="image", changes={1: {"patient": ""}}))
    cases = source.cases().cases
    assert source.unit == "image"
    assert [c.patient for c in cases] == [c.image for c in cases]


def test_files_names_what_the_pixels_come_from(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    settings = write_cohort(kind, tmp_path)
    files = list(opened(settings).files())
    assert files == list(opened(settings).files())
    assert all(path.exists() for path in files)
    assert len(files) == (1 if kind in ("arrays", "image-archive") else 6)


def test_neither_a_case_nor_an_error_shows_who_or_which_file(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    made = Format(kind, tmp_path)
    source = opened(write_cohort(kind, tmp_path, extra_files={made.name("i0"): b"SECRET"}))
    case = source.cases().cases[0]
    with pytest.raises(UnusableCaseError) as raised:
        source.read_image(case)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    for text in (repr(case), str(raised.value), repr(source.cases())):
        assert "SECRET" not in text and made.name("i0") not in text.split()


def test_a_path_that_is_not_what_the_kind_needs_refuses_the_cohort(
    kind: SourceKind, tmp_path: Path, opened: Opened
) -> None:
    settings = write_cohort(kind, tmp_path, filter={"label": 0})
    target = Path(settings.path)
    elsewhere = target.rename(tmp_path / "elsewhere")
    with pytest.raises(CohortError) as raised:
        opened(settings)
    assert raised.value.code == "E_SOURCE_UNREADABLE"
    elsewhere.rename(target)
    assert len(opened(settings).cases().cases) == 3


def test_a_manifest_without_labels_cannot_serve_classification(
    kind: SourceKind, tmp_path: Path
) -> None:
    settings = write_cohort(kind, tmp_path)
    manifest = Path(settings.manifest)
    manifest.write_text(manifest.read_text().replace("label", "labels"))
    with pytest.raises(ConfigurationError) as raised:
        open_source(settings, CLASSIFY, DATA)
    assert "'label'" in str(raised.value) and "line 1 has 5 columns" in raised.value.hint
