"""A PACS as a source of a cohort: scanned, resumed, fetched within bounds."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from tests.client.dicomweb.fake_settings import store_for
from tests.client.dicomweb.pacs_server import (
    PATIENT_ID,
    PATIENT_NAME,
    Pacs,
    body,
    bytes_of,
    ct_slice,
    cut_after,
    status,
)

from fedward_client.cohorts.finding_codes import CODE_MEANINGS
from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.index.instance_store import ScanProgress
from fedward_client.cohorts.source import UnusableCaseError
from fedward_client.dicom.instance_facts import InstanceFacts
from fedward_client.dicomweb import problems
from fedward_client.dicomweb.problems import DicomWebError
from fedward_common.errors import CohortError

KEY = bytes(range(32))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[DicomIndex]:
    with DicomIndex.open(tmp_path / "index.sqlite", pseudonym_key=KEY) as opened:
        yield opened


def all_facts(index: DicomIndex, series: list[str]) -> dict[str, InstanceFacts]:
    return {facts.sop_instance_uid: facts for uid in series for facts in index.series(uid)}


def test_a_scan_finds_what_a_scan_of_the_same_files_in_a_folder_finds(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    study, first, _ = pacs.add_series(3)
    _, second, _ = pacs.add_series(2, study)
    _, third, _ = pacs.add_series(4)
    folder = tmp_path / "files"
    folder.mkdir()
    for number, content in enumerate(pacs.files.values()):
        (folder / f"{number}.dcm").write_bytes(content)
    steps: list[ScanProgress] = []
    summary = store_for(pacs, tmp_path, page_size=2).scan(index, steps.append)
    assert (summary.files_seen, summary.files_read, summary.instances) == (9, 9, 9)
    assert summary.problems == summary.files_removed == 0
    assert steps[-1].files_seen == 9
    with DicomIndex.open(tmp_path / "other.sqlite", pseudonym_key=KEY) as other:
        FolderStore(folder).scan(other)
        expected = all_facts(other, [first, second, third])
    found = all_facts(index, [first, second, third])
    of_files = {"locator", "size_bytes", "modified_ns", "transfer_syntax_uid"}
    for uid, facts in expected.items():
        for name, value in vars(facts).items():
            assert name in of_files or getattr(found[uid], name) == value, name
        assert found[uid].size_bytes == 0 < found[uid].modified_ns


def test_a_second_scan_reads_no_header_again_and_sees_what_came_and_went(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    study, series, locators = pacs.add_series(3)
    store = store_for(pacs, tmp_path)
    store.scan(index)
    summary = store.scan(index)
    assert (summary.files_seen, summary.files_read, summary.files_removed) == (3, 0, 0)
    assert pacs.asked("metadata") == 1
    pacs.files.pop((study, series, locators[0].rpartition("/")[2]))
    pacs.add(ct_slice(study, series, 9))
    summary = store.scan(index)
    assert (summary.files_read, summary.files_removed, summary.instances) == (1, 1, 3)


def test_a_patient_id_that_the_archive_corrected_is_read_again(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    pacs.add_series(2)
    store_for(pacs, tmp_path).scan(index)
    for key, content in pacs.files.items():
        pacs.files[key] = content.replace(b"PID-needle-77 ", b"PID-needle-78 ")
    summary = store_for(pacs, tmp_path).scan(index)
    assert summary.files_read == 2
    assert index.studies_of_patient("PID-needle-78")
    assert not index.studies_of_patient(PATIENT_ID)


def test_a_scan_that_was_broken_off_goes_on_where_it_was(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    for _ in range(3):
        pacs.add_series(2)

    class StopError(Exception):
        pass

    def stop(progress: ScanProgress) -> None:
        if progress.files_seen == 4:
            raise StopError

    with pytest.raises(StopError):
        store_for(pacs, tmp_path).scan(index, stop)
    assert index.count() == 4
    assert not index.is_whole
    assert store_for(pacs, tmp_path).scan(index).files_read == 2
    assert index.is_whole


def test_a_lost_connection_ends_a_scan_and_removes_nothing(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    pacs.add_series(2)
    store = store_for(pacs, tmp_path, attempts=2)
    store.scan(index)
    pacs.fail("/instances", *[status(503)] * 2)
    with pytest.raises(DicomWebError) as caught:
        store.scan(index)
    assert caught.value.code == "E_SERVER_UNREACHABLE"
    assert index.count() == 2


def test_a_series_that_the_server_chokes_on_costs_itself_alone_and_is_not_forgotten(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    _, known, _ = pacs.add_series(2)
    store = store_for(pacs, tmp_path, attempts=1)
    store.scan(index)
    _, new, _ = pacs.add_series(2)
    _, bad, _ = pacs.add_series(2)
    pacs.fail(f"{known}/instances", status(500))
    pacs.fail(f"{bad}/instances", status(500))
    summary = store.scan(index)
    assert summary.problems == 2
    assert [len(index.series(uid)) for uid in (known, new, bad)] == [2, 2, 0]
    assert [finding.code for finding in index.problems()] == ["E_SERVER_ANSWER"] * 2
    assert store.scan(index).problems == 0
    assert len(index.series(bad)) == 2


def test_two_patients_under_one_instance_uid_both_stay_and_are_an_error(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    slices = [ct_slice(generate_uid(), generate_uid()[:60], number) for number in (1, 2)]
    for number, dataset in enumerate(slices):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.PatientID = f"{PATIENT_ID}-{number}"
        pacs.add(dataset)
    store = store_for(pacs, tmp_path, attempts=1)
    store.scan(index)
    series = [dataset.SeriesInstanceUID for dataset in slices]
    assert [len(index.series(uid)) for uid in series] == [1, 1]
    assert [one.code for one in index.scan_findings()] == [
        "E_DUPLICATE_INSTANCE", "W_PATIENT_TWICE", "W_SEVERAL_STUDIES"
    ]  # fmt: skip
    pacs.fail("/instances", status(500), status(500))
    store.scan(index)  # what cannot be listed now is not forgotten
    assert [len(index.series(uid)) for uid in series] == [1, 1]


def test_a_server_that_fails_on_one_series_after_the_other_ends_the_scan(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    for _ in range(12):
        pacs.add_series(1)
    pacs.fail("/instances", *[status(500)] * 12)
    with pytest.raises(DicomWebError):
        store_for(pacs, tmp_path, attempts=1).scan(index)


def test_metadata_of_single_instances_serves_where_that_of_a_series_is_refused(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    pacs.add_series(3)
    pacs.refuses_series_metadata = True
    assert store_for(pacs, tmp_path).scan(index).instances == 3


def test_metadata_cut_short_is_asked_for_again(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    pacs.add_series(3)
    pacs.fail("metadata", cut_after(2000), cut_after(5000))
    assert store_for(pacs, tmp_path).scan(index).instances == 3
    assert pacs.asked("metadata") == 3


@pytest.mark.parametrize("word", ["metadata", "/instances", "/series", "/studies"])
@pytest.mark.parametrize(
    "content",
    [
        b"[{}]", b'[{"0020000D": {"vr": "UI", "Value": ["../../up"]}}]', b"[1]", b"{}",
        b'[{"0020000D": 7, "0020000E": [], "00080018": {"Value": 3}}]',
        b'[{"00080018": {"vr": "UI", "Value": [{"a": [[[]]]}]}}]',
    ],
)  # fmt: skip
def test_strange_answers_are_problems_and_no_crash(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, word: str, content: bytes
) -> None:
    pacs.add_series(2)
    pacs.fail(word, *[body(content, "application/dicom+json")] * 20)
    try:
        summary = store_for(pacs, tmp_path, attempts=1).scan(index)
    except DicomWebError as error:
        assert error.code == "E_SERVER_ANSWER"
    else:
        assert summary.instances == 0


@pytest.mark.parametrize(
    ("tag", "element", "code"),
    [
        ("00280010", {"vr": "US", "Value": ["Needle^Nora"]}, "E_HEADER_UNREADABLE"),
        ("00081115", {"vr": "SQ", "Value": ["Needle^Nora"]}, "E_HEADER_UNREADABLE"),
        ("0020000E", {"vr": "UI", "Value": ["1.2.3"]}, "E_HEADER_INCOMPLETE"),
    ],
)
def test_a_header_that_cannot_be_used_is_a_code(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, tag: str, element: Any, code: str
) -> None:
    locators = pacs.add_series(1)[2]
    content = next(iter(pacs.files.values()))
    dataset = dcmread(io.BytesIO(content), stop_before_pixels=True)
    header = dataset.to_json_dict() | {tag: element}
    pacs.fail("metadata", *[body(json.dumps([header]).encode(), "application/dicom+json")] * 2)
    assert store_for(pacs, tmp_path).scan(index).problems == 1
    assert [finding.code for finding in index.problems()] == [code]
    assert index.at(locators[0]) is None


def test_a_server_that_ignores_paging_is_asked_no_further(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    pacs.add_series(5)
    pacs.ignores_paging = True
    assert store_for(pacs, tmp_path, page_size=2).scan(index).instances == 5
    assert pacs.asked("/instances?") == 2


def test_only_studies_and_series_that_match_are_asked_for(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    study, series, _ = pacs.add_series(1)
    pacs.add_series(1, study)
    pacs.add_series(1)
    keys = {"studies": {"StudyInstanceUID": study}, "series": {"SeriesInstanceUID": series}}
    store_for(pacs, tmp_path, **keys).scan(index)
    assert index.count() == 1


# --- files ---


def test_files_arrive_in_order_and_are_gone_afterwards(pacs: Pacs, tmp_path: Path) -> None:
    _, _, locators = pacs.add_series(3)
    wanted = [locators[2], locators[0]]
    with store_for(pacs, tmp_path).local_files(wanted) as paths:
        uids = [dcmread(path).SOPInstanceUID for path in paths]
        assert uids == [locator.rpartition("/")[2] for locator in wanted]
        assert all(PATIENT_ID not in path.name and uids[0] not in str(path) for path in paths)
    assert list((tmp_path / "cache" / "dicomweb").iterdir()) == []


def test_files_beyond_the_quota_are_refused_and_leave_nothing(pacs: Pacs, tmp_path: Path) -> None:
    _, _, locators = pacs.add_series(3)
    size = len(next(iter(pacs.files.values())))
    store = store_for(pacs, tmp_path, temporary_quota_bytes=2 * size + 100)
    with store.local_files(locators[:2]):
        pass
    with pytest.raises(UnusableCaseError) as caught, store.local_files(locators):
        pass
    assert caught.value.code == "E_SERVER_TOO_LARGE"
    with (
        store.local_files(locators[:1]),
        pytest.raises(CohortError) as full,
        store.local_files(locators[:2]),
    ):
        pass
    assert full.value.code == "E_CACHE_FULL"
    assert list((tmp_path / "cache" / "dicomweb").iterdir()) == []


def test_an_instance_that_is_gone_wrong_or_cut_is_its_own_problem(
    pacs: Pacs, tmp_path: Path
) -> None:
    study, series, locators = pacs.add_series(2)
    store = store_for(pacs, tmp_path, attempts=2)
    gone = f"studies/{study}/series/{series}/instances/{generate_uid()}"
    other = bytes_of(ct_slice(study, series, 5))
    faults = {
        "E_FILE_NOT_FOUND": status(404),
        "E_FILE_CHANGED": body(other, "application/dicom"),
        "E_NOT_DICOM": body(b"<html>sign in</html>", "application/dicom"),
        "E_SERVER_ANSWER": status(500),
    }
    for code, fault in faults.items():
        pacs.fail("instances", *[fault] * 2)
        with pytest.raises(UnusableCaseError) as caught, store.local_files(locators[:1]):
            pass
        assert caught.value.code == code
        pacs.faults.clear()
    with pytest.raises(UnusableCaseError) as caught, store.local_files([gone]):
        pass
    assert caught.value.code == "E_FILE_NOT_FOUND"


def test_an_unreachable_server_is_not_the_fault_of_the_instance(pacs: Pacs, tmp_path: Path) -> None:
    _, _, locators = pacs.add_series(1)
    pacs.fail("instances", *[status(503)] * 2)
    store = store_for(pacs, tmp_path, attempts=2)
    with pytest.raises(DicomWebError) as caught, store.local_files(locators):
        pass
    assert caught.value.code == "E_SERVER_UNREACHABLE"


def test_stored_files_are_found_again(pacs: Pacs, index: DicomIndex, tmp_path: Path) -> None:
    study, series = generate_uid(), generate_uid()[:60]
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.dcm")
        paths[-1].write_bytes(bytes_of(ct_slice(study, series, number)))
    store = store_for(pacs, tmp_path)
    store.store(paths)
    assert sorted(pacs.files.values()) == sorted(path.read_bytes() for path in paths)
    found = store.locators_of_series(series)
    assert len(found) == 3
    assert store.locators_of_series(generate_uid()) == ()


@pytest.mark.parametrize(
    "answer",
    [b'{"00081198": {"vr": "SQ", "Value": [{}]}}', b'[{"00081198": {"Value": [{}]}}]', b"nonsense"],
)
def test_a_store_that_the_server_did_not_take_is_an_error(
    pacs: Pacs, tmp_path: Path, answer: bytes
) -> None:
    path = tmp_path / "one.dcm"
    path.write_bytes(bytes_of(ct_slice("1.2", "1.2.3", 1)))
    store = store_for(pacs, tmp_path, attempts=1)
    for fault in (body(answer, "application/dicom+json"), status(409), status(307, Location="/x")):
        pacs.fail("studies", fault)
        with pytest.raises(DicomWebError) as caught:
            store.store([path])
        assert caught.value.code == "E_SERVER_ANSWER"


def test_nothing_of_a_patient_is_logged_warned_or_raised(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    study, series, locators = pacs.add_series(2)
    pacs.fail("/instances", status(500), status(500))
    pacs.fail("metadata", body(b'[{"00100010": "Needle^Nora"}]', "application/dicom+json"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = store_for(pacs, tmp_path, attempts=2)
        store.scan(index)
        store.scan(index)
        with store.local_files(locators):
            pass
    everything = caplog.text + " ".join(str(one.message) for one in caught)
    assert "fedward_client.dicomweb" in everything
    for needle in (PATIENT_ID, PATIENT_NAME, "Needle", "19600131", study, series, *locators):
        assert needle not in everything


def test_every_code_has_a_meaning() -> None:
    codes = [value for name, value in vars(problems).items() if name.startswith("E_")]
    assert [code for code in codes if code not in CODE_MEANINGS] == []
