from pathlib import Path

import pytest

from fedward_common.errors import ConfigurationError
from fedward_common.private_file import require_private


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o601, 0o644, 0o666, 0o777])
def test_a_key_that_is_open_to_every_account_is_refused_by_its_path(
    tmp_path: Path, mode: int
) -> None:
    good, key = tmp_path / "good.key", tmp_path / "own.key"
    for file in (good, key):
        file.write_text("secret")
    good.chmod(0o600)
    key.chmod(mode)
    with pytest.raises(ConfigurationError, match=str(key)) as refused:
        require_private(good, key)
    assert f"chmod 600 {key}" in refused.value.hint


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640])
def test_a_key_of_its_owner_and_a_group_is_taken(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "own.key"
    key.write_text("secret")
    key.chmod(mode)
    require_private(key)


def test_a_link_is_as_open_as_what_it_leads_to(tmp_path: Path) -> None:
    key, link = tmp_path / "own.key", tmp_path / "link"
    key.write_text("secret")
    key.chmod(0o644)
    link.symlink_to(key)
    with pytest.raises(ConfigurationError):
        require_private(link)


def test_a_key_that_is_not_there_is_for_its_reader_to_name(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    require_private(tmp_path / "none", tmp_path / "loop")
