"""What may be written into a DICOMweb settings file."""

import os
from pathlib import Path

import pytest

from fedward_client.dicomweb.secret_file import Secret, read_secret_file
from fedward_client.dicomweb.settings import DicomWebSettings, read_dicomweb_settings
from fedward_common.errors import ConfigurationError


def secret_in(folder: Path, content: bytes = b"hush\n", mode: int = 0o600) -> Path:
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_settings_file_is_read_and_an_unknown_key_refused(tmp_path: Path) -> None:
    path = tmp_path / "pacs.toml"
    path.write_text('url = "https://pacs.example.org/dicom-web"\nauth = "none"\n')
    assert read_dicomweb_settings(path).url == "https://pacs.example.org/dicom-web"
    path.write_text('url = "https://pacs.example.org"\npasswort = "x"\n')
    with pytest.raises(ConfigurationError, match="passwort"):
        read_dicomweb_settings(path)


@pytest.mark.parametrize(
    "url",
    ["", "pacs", "ftp://pacs/x", "https://", "https://user:pw@pacs/x", "https://pacs/x?token=1",
     "https://pacs/x#y", "https://pacs:99999/", "https://pa cs/", "https://pacs/\r\nX: y",
     "https://[::1/"],
)  # fmt: skip
def test_an_address_with_anything_but_host_port_and_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        DicomWebSettings(url=url)
    assert "pw" not in str(caught.value)


def test_plain_http_must_be_allowed_for_that_host() -> None:
    with pytest.raises(ConfigurationError, match="not encrypted"):
        DicomWebSettings(url="http://127.0.0.1/x")
    with pytest.raises(ConfigurationError, match="not encrypted"):
        DicomWebSettings(url="http://pacs/x", plain_http_hosts=("127.0.0.1",))
    DicomWebSettings(url="http://127.0.0.1/x", plain_http_hosts=("127.0.0.1",))


@pytest.mark.parametrize(
    "keys",
    [
        {"auth": "basic", "user": "u"},
        {"auth": "bearer"},
        {"secret_file": "/s"},
        {"auth": "basic", "secret_file": "/s"},
        {"auth": "bearer", "secret_file": "/s", "user": "u"},
        {"auth": "basic", "secret_file": "/s", "user": "a:b"},
        {"auth": "bearer", "secret_file": "relative"},
        {"ca_file": "relative"},
        {"proxy": "socks5://x"},
        {"proxy": "http://user:pw@x"},
        {"attempts": 0},
        {"read_timeout_seconds": 0.0},
        {"page_size": 0},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(keys: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        DicomWebSettings(url="https://pacs/x", **keys)  # type: ignore[arg-type]


def test_a_secret_shows_itself_to_nobody_but_reveal(tmp_path: Path) -> None:
    secret = read_secret_file(secret_in(tmp_path))
    assert secret.reveal() == "hush"
    assert "hush" not in f"{secret!r} {secret} {[secret]}"
    with pytest.raises(TypeError):
        secret.__reduce__()
    assert not hasattr(Secret("x"), "__dict__")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_a_secret_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigurationError, match="others"):
        read_secret_file(secret_in(tmp_path, mode=mode))


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"two\nlines", b"a\0b", "pä".encode(), b"x" * 99999]
)
def test_a_file_without_a_usable_secret_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_secret_file(secret_in(tmp_path, content))
    assert "lines" not in str(caught.value)


def test_a_pipe_in_place_of_a_secret_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="no regular file"):
        read_secret_file(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        read_secret_file(tmp_path / "missing")
