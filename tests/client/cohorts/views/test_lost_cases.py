"""Views of cohorts in which decoders do not survive some file."""

import json
from collections.abc import Collection
from pathlib import Path

import pytest
from tests.client.cohorts.small_cohorts import CLASSIFY, DATA, KEY, Format, write_cohort
from tests.client.dicom.made_files import ABORTING_JPEG

from fedward_client.cohorts.array_source import ArraySource
from fedward_client.cohorts.cohort_file import SourceSettings
from fedward_client.cohorts.cohort_report import cohort_report
from fedward_client.cohorts.source import Case, UnusableCaseError
from fedward_client.cohorts.views.job_view import JobView, prepare_job_view
from fedward_common.errors import CohortError

CRASHED = "E_DECODER_CRASHED"


def view_of(folder: Path, settings: SourceSettings) -> JobView:
    return prepare_job_view(folder / "cache", [settings], CLASSIFY, DATA, KEY)


class Decoders:
    """Do not survive the cases on some lines."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lost: Collection[int] = ()
        self.code = CRASHED
        self.num_read = 0
        read_image = ArraySource.read_image

        def read(source: ArraySource, case: Case) -> object:
            self.num_read += 1
            if case.line in self.lost:
                raise UnusableCaseError(self.code)
            return read_image(source, case)

        monkeypatch.setattr(ArraySource, "read_image", read)


@pytest.fixture
def decoders(monkeypatch: pytest.MonkeyPatch) -> Decoders:
    return Decoders(monkeypatch)


@pytest.fixture
def cohort(tmp_path: Path) -> SourceSettings:
    return write_cohort("arrays", tmp_path, max_excluded_share=0.5)


@pytest.mark.parametrize("code", [CRASHED, "E_DECODER_TIMEOUT", "E_DECODER_MEMORY"])
def test_a_file_that_no_decoder_survives_is_left_out_counted_and_told(
    tmp_path: Path, cohort: SourceSettings, decoders: Decoders, code: str
) -> None:
    decoders.lost, decoders.code = {3}, code
    view = view_of(tmp_path, cohort)
    assert len(view.images) == 5 and view.exclusions == {code: 1}
    assert view.excluded_lines[code] == ((0, 3),)
    assert cohort_report(view, CLASSIFY)["exclusions"] == {code: 1}


def test_the_fingerprint_says_which_cases_were_left_out(
    tmp_path: Path, cohort: SourceSettings, decoders: Decoders
) -> None:
    names = set()
    for number, lost in enumerate([set(), {3}, {4}, {3, 4}]):
        decoders.lost = lost
        names.add(view_of(tmp_path / str(number), cohort).folder.name)
    assert len(names) == 4
    decoders.lost, decoders.code = {4}, "E_DECODER_TIMEOUT"  # whatever it was that time
    assert view_of(tmp_path / "again", cohort).folder.name in names
    decoders.lost, decoders.code = {4}, "E_IMAGE_UNREADABLE"  # the file says so every time
    whole = view_of(tmp_path / "unreadable", cohort).folder
    assert whole.name == json.loads((whole / "index.json").read_bytes())["ordered"]


def test_a_view_without_a_case_is_opened_again_and_nothing_is_decoded(
    tmp_path: Path, cohort: SourceSettings, decoders: Decoders
) -> None:
    decoders.lost = {3}
    first = view_of(tmp_path, cohort)
    decoders.lost, decoders.num_read = (), 0
    assert view_of(tmp_path, cohort).folder == first.folder
    assert decoders.num_read == 0


def test_a_damaged_view_without_a_case_gives_way_to_a_whole_one(
    tmp_path: Path, cohort: SourceSettings, decoders: Decoders
) -> None:
    decoders.lost = {3}
    first = view_of(tmp_path, cohort).folder
    (first / "images.npy").write_bytes(b"damage")
    decoders.lost = ()
    view = view_of(tmp_path, cohort)
    assert len(view.images) == 6 and view.folder != first and not first.exists()
    assert view_of(tmp_path, cohort).folder == view.folder


def test_too_many_of_them_are_no_cohort(
    tmp_path: Path, cohort: SourceSettings, decoders: Decoders
) -> None:
    decoders.lost = {2, 3, 4, 5}
    with pytest.raises(CohortError) as raised:
        view_of(tmp_path, cohort)
    assert raised.value.code == "E_TOO_MANY_EXCLUDED"
    assert not any(path.is_dir() for path in (tmp_path / "cache").iterdir())


def test_a_file_that_kills_its_decoder_stops_no_view(tmp_path: Path) -> None:
    made = Format("dicom-folder", tmp_path)
    settings = write_cohort(
        "dicom-folder",
        tmp_path,
        extra_files={made.name("i3"): ABORTING_JPEG},
        max_excluded_share=0.5,
    )
    view = view_of(tmp_path, settings)
    assert len(view.images) == 5 and view.exclusions == {CRASHED: 1}
