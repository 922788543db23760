"""What a server says otherwise than before: new content under an old UID, or nothing at all."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.client.dicomweb.fake_settings import store_for
from tests.client.dicomweb.pacs_server import Pacs, body, status

from fedward_client.cohorts.index.dicom_index import DicomIndex
from fedward_client.dicomweb.json_headers import state_number
from fedward_common.errors import CohortError

KEY = bytes(range(32))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[DicomIndex]:
    with DicomIndex.open(tmp_path / "index.sqlite", pseudonym_key=KEY) as opened:
        yield opened


def states_of(index: DicomIndex, series: str) -> list[int]:
    return [facts.modified_ns for facts in index.series(series)]


def change_first(pacs: Pacs, series: str) -> None:
    """Make one slice darker under its old UID, as an archive does that processes again."""
    key = min(key for key in pacs.files if key[1] == series)
    content = pacs.files[key]
    assert content.count(b"DERIVED\\") + content.count(b"ORIGINAL\\") == 1
    pacs.files[key] = content.replace(b"ORIGINAL\\", b"DERIVED \\")


def _told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Give what the project logged; a library's own lines depend on the tests before."""
    return [record for record in caplog.records if record.name.startswith("fedward")]


def test_a_thorough_scan_sees_another_header_under_an_old_uid_and_says_so(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, series, _ = pacs.add_series(3)
    store = store_for(pacs, tmp_path)
    store.scan(index)
    before = states_of(index, series)
    assert len(set(before)) == 3
    change_first(pacs, series)
    with caplog.at_level(logging.WARNING):
        store.scan(index)
        assert states_of(index, series) == before and not _told(caplog)
        summary = store.scan(index, thorough=True)
    assert (summary.files_read, summary.instances) == (3, 3)
    after = states_of(index, series)
    assert [one != other for one, other in zip(before, after, strict=True)] == [True, False, False]
    [record] = _told(caplog)
    assert record.getMessage().startswith("scan: 1 instances of the server are not what was")


def test_a_thorough_scan_of_the_same_content_changes_nothing(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, series, _ = pacs.add_series(2)
    store = store_for(pacs, tmp_path)
    store.scan(index)
    before = index.series(series)
    with caplog.at_level(logging.WARNING):
        store.scan(index, thorough=True)
    assert index.series(series) == before and not _told(caplog)


def test_an_instance_that_cannot_be_compared_now_stays_as_it_was(
    pacs: Pacs, index: DicomIndex, tmp_path: Path
) -> None:
    _, series, _ = pacs.add_series(2)
    store = store_for(pacs, tmp_path)
    store.scan(index)
    before = index.series(series)
    pacs.fail("metadata", *[status(404)] * 3)
    assert store.scan(index, thorough=True).problems == 0
    assert index.series(series) == before


def test_the_number_of_a_state_follows_the_instance_and_not_the_server() -> None:
    header = {
        "00280010": {"vr": "US", "Value": [512]},
        "00081190": {"vr": "UR", "Value": ["https://one/"]},
        "7FE00010": {"vr": "OW", "BulkDataURI": "https://one/bulk"},
    }
    other = json.loads(json.dumps(header).replace("https://one", "https://two"))
    turned = dict(reversed(other.items()))
    assert state_number(header) == state_number(turned) > 0
    other["00280010"]["Value"] = [511]
    assert state_number(header) != state_number(other) < 2**63


def forget_everything(pacs: Pacs) -> None:
    pacs.files.clear()


def answer_with_an_empty_list(pacs: Pacs) -> None:
    pacs.fail("/studies", body(b"[]", "application/dicom+json"))


def hide_every_series(pacs: Pacs) -> None:
    pacs.fail("/series", *[body(b"[]", "application/dicom+json")] * 2)


@pytest.mark.parametrize("empty", [forget_everything, answer_with_an_empty_list, hide_every_series])
def test_a_server_that_shows_nothing_any_more_empties_no_index(
    pacs: Pacs, index: DicomIndex, tmp_path: Path, empty: Callable[[Pacs], None]
) -> None:
    store = store_for(pacs, tmp_path)
    assert store.scan(index).instances == 0  # nothing from the first: nothing to lose
    series = [pacs.add_series(2)[1] for _ in range(2)]
    store.scan(index)
    before = [index.series(uid) for uid in series]
    empty(pacs)
    with pytest.raises(CohortError) as caught:
        store.scan(index)
    assert caught.value.code == "E_SOURCE_UNREADABLE" and "rights" in str(caught.value.hint)
    assert [index.series(uid) for uid in series] == before
