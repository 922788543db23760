"""Files that a folder gives on request."""

from pathlib import Path

import pytest
from tests.client.cohorts.dicom_tree import write

from fedward_client.cohorts.index.folder_scan import FolderStore
from fedward_client.cohorts.source import UnusableCaseError


@pytest.mark.parametrize(
    ("locator", "code"),
    [
        ("none", "E_FILE_NOT_FOUND"),
        ("", "E_FILE_NOT_FOUND"),
        ("a\0b", "E_FILE_NOT_FOUND"),
        ("n" * 300, "E_FILE_NOT_FOUND"),
        ("loop", "E_FILE_NOT_FOUND"),
        ("../outside", "E_PATH_ESCAPES"),
        ("/etc/hostname", "E_PATH_ESCAPES"),
        ("link", "E_PATH_ESCAPES"),
    ],
)
def test_files_are_given_from_inside_the_folder_alone(
    folder: Path, locator: str, code: str
) -> None:
    write(folder, "../outside", b"x")
    (folder / "link").symlink_to("../outside")
    (folder / "loop").symlink_to("loop")
    with (
        pytest.raises(UnusableCaseError) as caught,
        FolderStore(folder).local_files(["link" if locator == "link" else locator]),
    ):
        pass
    assert caught.value.code == code
