"""One request at a time to one server: authentication, TLS, limits, retries.

What holds for every request: certificates are checked; nothing is taken from the environment; a
redirect leads nowhere but to the same server; an answer is read in blocks, bounded in bytes and
in time; a failure's text has neither URL nor anything the server said. A failure that may pass is
tried again after 0.5, 1, 2 ... 30 seconds, and the answer's reader starts anew.
"""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urljoin, urlsplit

import urllib3
from urllib3 import exceptions as failures

from fedward_client.dicomweb.multipart import media_type_of
from fedward_client.dicomweb.problems import (
    E_SERVER_ANSWER,
    E_SERVER_CERTIFICATE,
    E_SERVER_NOT_FOUND,
    E_SERVER_REFUSED,
    E_SERVER_TOO_LARGE,
    E_SERVER_UNREACHABLE,
    DicomWebError,
    PassingError,
)
from fedward_client.dicomweb.quiet_urllib3 import quiet_urllib3
from fedward_client.dicomweb.secret_file import read_secret_file
from fedward_client.dicomweb.settings import DicomWebSettings
from fedward_common.clock import Clock, SystemClock
from fedward_common.errors import ConfigurationError

T = TypeVar("T")
Query = tuple[tuple[str, str], ...]

_BLOCK_BYTES = 1 << 16
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_MAX_REDIRECTS = 3
_PASSING = {408, 425, 429, 502, 503, 504}
_GONE = {404, 410}
_REDIRECTS = {301, 302, 303, 307, 308}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What to ask for.

    Args:
        path: Below the base URL; made of checked UIDs and fixed words.
        accept: The media type wanted.
        max_bytes: Longest answer.
        query: Names and values, not yet escaped.
        name: What log lines call it; no UID in it.
        body: Gives the body anew for each try; None for GET.
        body_type, body_bytes: Content-Type and length of the body.
    """

    path: str = field(repr=False)
    accept: str
    max_bytes: int
    name: str
    query: Query = field(default=(), repr=False)
    body: Callable[[], Iterable[bytes]] | None = field(default=None, repr=False)
    body_type: str = ""
    body_bytes: int = 0


class Answer:
    """A successful answer, to be read once.

    Args:
        response: Not yet read.
        request: What was asked.
        deadline: When reading must be done.
        clock: What `deadline` is measured with.
    """

    def __init__(
        self, response: urllib3.BaseHTTPResponse, request: Request, deadline: float, clock: Clock
    ) -> None:
        self._response, self._request = response, request
        self._deadline, self._clock = deadline, clock
        self.status = response.status
        self.media_type, self.parameters = media_type_of(response.headers.get("content-type", ""))

    def blocks(self) -> Iterator[bytes]:
        """Give the body in blocks.

        Raises:
            DicomWebError: It is longer than allowed.
            PassingError: It takes too long or is cut short.
        """
        num_bytes = 0
        while block := self._response.read1(_BLOCK_BYTES, decode_content=False):
            num_bytes += len(block)
            if num_bytes > self._request.max_bytes:
                raise DicomWebError(E_SERVER_TOO_LARGE, f"{self._request.name}: too much data")
            if self._clock.now_seconds() > self._deadline:
                raise PassingError(E_SERVER_UNREACHABLE, f"{self._request.name}: too slow")
            yield block


class DicomWebSession:
    """Connections to one server; use it in one thread.

    Raises:
        ConfigurationError: `ca_file` or `secret_file` cannot be used.
    """

    def __init__(self, settings: DicomWebSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._base = settings.url.rstrip("/")
        self._pool = _pool_of(settings)
        _authorization(settings)  # a missing secret is told now, not in the middle of a scan

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.clear()

    def exchange(self, request: Request, read: Callable[[Answer], T]) -> T:
        """Ask, and give what `read` makes of the answer.

        Args:
            request: What to ask.
            read: Gets an answer of status 2xx; called again for each try.

        Raises:
            DicomWebError: It failed for good, or in passing once too often.
            ConfigurationError: The secret is gone.
        """
        pause = _FIRST_PAUSE_SECONDS
        for attempt in range(1, self._settings.attempts + 1):
            try:
                with quiet_urllib3():
                    return self._try_once(request, read)
            except PassingError as error:
                problem = DicomWebError(error.code, error.reason)
            _log.warning("%s: %s in try %d", request.name, problem.code, attempt)
            if attempt < self._settings.attempts:
                self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        raise problem from None

    def _try_once(self, request: Request, read: Callable[[Answer], T]) -> T:
        deadline = self._clock.now_seconds() + self._settings.deadline_seconds
        url = f"{self._base}/{request.path}"
        if request.query:
            url += "?" + urlencode(request.query)
        try:
            for _ in range(_MAX_REDIRECTS + 1):
                response = self._send(request, url)
                try:
                    if response.status not in _REDIRECTS:
                        _require_success(request, response)
                        return read(Answer(response, request, deadline, self._clock))
                    url = _same_server(request, url, response.headers.get("location", ""))
                finally:
                    response.close()  # no reuse of a connection with an unread rest
        except failures.HTTPError as error:
            raise _named(request, error) from None
        raise DicomWebError(E_SERVER_ANSWER, f"{request.name}: too many redirects")

    def _send(self, request: Request, url: str) -> urllib3.BaseHTTPResponse:
        headers = {"accept": request.accept, "accept-encoding": "identity", "user-agent": "fedward"}
        headers |= _authorization(self._settings)
        body = None
        if request.body is not None:
            headers |= {
                "content-type": request.body_type,
                "content-length": str(request.body_bytes),
            }
            body = request.body()
        settings = self._settings
        return self._pool.request(
            "GET" if request.body is None else "POST",
            url,
            headers=headers,
            body=body,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=urllib3.Timeout(
                connect=settings.connect_timeout_seconds, read=settings.read_timeout_seconds
            ),
        )


def _pool_of(settings: DicomWebSettings) -> urllib3.PoolManager:
    context = ssl.create_default_context()
    if settings.ca_file:
        try:
            context = ssl.create_default_context(cafile=settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(
                f"ca_file {settings.ca_file} cannot be used: {error.strerror or 'no PEM file'}",
                hint="certificates in PEM form",
            ) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.proxy:
        return urllib3.ProxyManager(settings.proxy, ssl_context=context, maxsize=1)
    return urllib3.PoolManager(ssl_context=context, maxsize=1)


def _authorization(settings: DicomWebSettings) -> Mapping[str, str]:
    if settings.auth == "none":
        return {}
    secret = read_secret_file(Path(settings.secret_file)).reveal()
    if settings.auth == "bearer":
        return {"authorization": f"Bearer {secret}"}
    return urllib3.make_headers(basic_auth=f"{settings.user}:{secret}")


def _require_success(request: Request, response: urllib3.BaseHTTPResponse) -> None:
    status = response.status
    reason = f"{request.name}: HTTP {status}"
    if status in (401, 403, 407):
        raise DicomWebError(E_SERVER_REFUSED, reason)
    if status in _GONE:
        raise DicomWebError(E_SERVER_NOT_FOUND, reason)
    if status in _PASSING:
        raise PassingError(E_SERVER_UNREACHABLE, reason)
    if status >= 500:
        raise PassingError(E_SERVER_ANSWER, reason)
    if not 200 <= status < 300:
        raise DicomWebError(E_SERVER_ANSWER, reason)
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise DicomWebError(E_SERVER_ANSWER, f"{request.name}: compressed although not asked to")


def _same_server(request: Request, url: str, location: str) -> str:
    """Resolve a redirect; only GET follows one, and only on the same server."""
    try:
        target = urljoin(url, location)
        same = urlsplit(target)[:2] == urlsplit(url)[:2]
    except ValueError:
        same = False
    if not location or not same or request.body is not None:
        raise DicomWebError(E_SERVER_ANSWER, f"{request.name}: redirected elsewhere, not followed")
    return target


def _named(request: Request, error: failures.HTTPError) -> DicomWebError:
    """Give a failure of urllib3 a code; its text has the URL and is dropped."""
    if isinstance(error, failures.ProxyError) and isinstance(error.original_error, ssl.SSLError):
        return DicomWebError(E_SERVER_CERTIFICATE, f"{request.name}: the proxy failed at TLS")
    if isinstance(error, failures.SSLError):
        return DicomWebError(E_SERVER_CERTIFICATE, f"{request.name}: no trusted TLS connection")
    if isinstance(error, failures.LocationValueError | failures.InvalidHeader):
        return DicomWebError(E_SERVER_ANSWER, f"{request.name}: malformed")
    if isinstance(error, failures.TimeoutError):
        return PassingError(E_SERVER_UNREACHABLE, f"{request.name}: no answer in time")
    if isinstance(error, failures.IncompleteRead | failures.ProtocolError):
        return PassingError(E_SERVER_UNREACHABLE, f"{request.name}: the connection broke off")
    return PassingError(E_SERVER_UNREACHABLE, f"{request.name}: no connection")
