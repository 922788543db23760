"""What lies in a site's home, and who may read it."""

import stat
from pathlib import Path

from fedward_client.site_home import create_site_home, write_private_file


def test_the_split_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    home = create_site_home(tmp_path / "site", split_key=bytes(32))
    assert stat.S_IMODE((home.folder / "split.key").stat().st_mode) == 0o600
    assert create_site_home(home.folder, split_key=bytes([1] * 32)).split_key() == bytes(32)


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "site.key"
    path.write_bytes(b"old")
    path.chmod(0o644)
    write_private_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
