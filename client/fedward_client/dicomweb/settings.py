"""Where a PACS is and how to talk to it; a secret is a path, and nothing comes from environment.

A sample:

```toml
url = "https://pacs.example.org/dicom-web"
auth = "basic"
user = "fedward"
secret_file = "/etc/fedward/pacs.secret"
ca_file = "/etc/fedward/hospital-ca.pem"
```
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from fedward_common.errors import ConfigurationError
from fedward_common.job.checks import require, require_between
from fedward_common.settings import from_table, read_toml

_GIB = 1 << 30
_ATTRIBUTE = re.compile(r"[A-Z][A-Za-z]{1,63}|[0-9A-Fa-f]{8}")
_PLAIN = re.compile(r"[!-~]+")  # printable ASCII without blanks


@dataclass(frozen=True)
class DicomWebSettings:
    """One DICOMweb server.

    Args:
        url: Base of the service, https; studies lie at `url/studies`.
        auth: `basic` sends `user` and the secret, `bearer` the secret as a token.
        secret_file: Holds the password or token; mode 0600. It is read anew for each request, so
            that a token may be renewed while a scan runs.
        ca_file: PEM certificates; where given, no other authority is trusted.
        proxy: `http://host:port`. Proxies named in the environment are never used.
        plain_http_hosts: Hosts that may be asked without TLS. Passwords and images then travel
            in the clear: name loopback, or a host behind a link that is encrypted otherwise.
        read_timeout_seconds: Longest silence of the server.
        deadline_seconds: Longest time for one answer as a whole.
        attempts: Tries of a request that failed in passing, with growing pauses between.
        page_size: Studies, series or instances asked for at once.
        max_instance_bytes: A larger instance is not fetched.
        temporary_quota_bytes: Most that fetched instances may take on disk at once.
        studies: What studies must match, as QIDO-RS asks for it: `{ModalitiesInStudy = "CT",
            StudyDate = "20190101-20231231"}`. Empty: the whole archive.
        series: The same for their series, such as `{Modality = "CT"}`.
    """

    url: str
    auth: Literal["none", "basic", "bearer"] = "none"
    user: str = ""
    secret_file: str = ""
    ca_file: str = ""
    proxy: str = ""
    plain_http_hosts: tuple[str, ...] = ()
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0
    deadline_seconds: float = 1800.0
    attempts: int = 4
    page_size: int = 200
    max_instance_bytes: int = 2 * _GIB
    temporary_quota_bytes: int = 16 * _GIB
    studies: Mapping[str, str] = field(default_factory=dict, repr=False)
    series: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._check_url()
        self._check_secret()
        if self.proxy:
            _address_of(self.proxy, "proxy", ("http",))
        for key in ("connect_timeout_seconds", "read_timeout_seconds", "deadline_seconds"):
            require_between(key, getattr(self, key), 0, 86_400, low_open=True)
        for key in ("studies", "series"):
            for name in getattr(self, key):
                require(
                    bool(_ATTRIBUTE.fullmatch(name)), f"{key}.{name[:40]}", "is no attribute",
                    "a DICOM keyword such as StudyDate, or eight hex digits",
                )  # fmt: skip
        require_between("attempts", self.attempts, 1, 10)
        require_between("page_size", self.page_size, 1, 5000)
        require_between("max_instance_bytes", self.max_instance_bytes, 1, 64 * _GIB)
        require_between("temporary_quota_bytes", self.temporary_quota_bytes, 1, 1 << 50)

    def _check_url(self) -> None:
        parts = _address_of(self.url, "url", ("http", "https"))
        if parts.scheme == "http" and parts.hostname not in self.plain_http_hosts:
            raise ConfigurationError(
                f"url {self.url} is not encrypted",
                hint=f"use https, or allow it: plain_http_hosts = [{parts.hostname!r}]",
            )

    def _check_secret(self) -> None:
        if (self.auth == "none") != (not self.secret_file):
            raise ConfigurationError(
                f"auth is {self.auth!r} and secret_file is {self.secret_file!r}",
                hint="auth = 'basic' or 'bearer' needs a secret_file, 'none' has none",
            )
        if (self.auth == "basic") != bool(self.user):
            raise ConfigurationError(
                f"auth is {self.auth!r} and user is {'given' if self.user else 'missing'}",
                hint="basic authentication needs a user, the others have none",
            )
        if self.user and (":" in self.user or not self.user.isprintable()):
            raise ConfigurationError("user has a ':' or a control character", hint="RFC 7617")
        for key in ("secret_file", "ca_file"):
            path = getattr(self, key)
            if path and not Path(path).is_absolute():
                raise ConfigurationError(f"{key} is {path!r}", hint="write an absolute path")


def _address_of(url: str, key: str, schemes: tuple[str, ...]) -> SplitResult:
    """Take a URL apart that is nothing but scheme, host, port and path."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not _PLAIN.fullmatch(url) or set("?#@\\") & set(url):
        raise ConfigurationError(
            f"{key} is no address of the form {schemes[-1]}://host:port/path",
            hint="no user, password, query or fragment in it",
        )
    return parts


def read_dicomweb_settings(path: Path) -> DicomWebSettings:
    """Read a settings file.

    Raises:
        ConfigurationError: It cannot be used; the key is named.
    """
    return from_table(DicomWebSettings, read_toml(path))
