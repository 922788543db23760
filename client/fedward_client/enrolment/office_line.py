"""How a request travels to the office online: one POST to the coordinator, over TLS 1.3.

The server is believed by one certificate alone, that of its TLS authority, which came with the
invitation; the authorities that the machine trusts do not count. What it answers is bounded, and
believed by nobody here. A proxy of the environment (`https_proxy`, `no_proxy`) is used.
"""

import json
import re
import ssl
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import exceptions as failures

from fedward_common.consortium.enrolment_answer import MAX_ANSWER_BYTES
from fedward_common.consortium.enrolment_request import ENROLMENT_PATH
from fedward_common.errors import ConfigurationError, FedwardError, UnverifiedMessageError

Send = Callable[[bytes], bytes]
"""Carries a request to the office and gives its answer; how is nobody's concern there."""

UNREACHABLE = "OFFICE_UNREACHABLE"

_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_TIME_SECONDS = 3.0
_HEALTH_PATH = "/health"
_MAX_DATE = 64
_CODE = re.compile(r"[A-Z][A-Z_]{0,59}\Z")
_BY_FILE = "send the request by file; the office answers with one"


def office_line(address: str, tls_authority_pem: str) -> Send:
    """Give what carries requests to a coordinator.

    Args:
        address: `https://HOST:PORT`, with a path if there is one before ours.
        tls_authority_pem: Certificates that the server's must come from.

    Returns:
        A function that raises a `FedwardError`: `OFFICE_UNREACHABLE` (try again later),
        `OFFICE_CERTIFICATE` (another server), `OFFICE_BUSY`, `OFFICE_BY_FILE`, or the code of a
        refusal.

    Raises:
        ConfigurationError: The certificates cannot be read.
    """
    pool = _pool_of(address, tls_authority_pem)
    url = address.rstrip("/") + ENROLMENT_PATH

    def send(request: bytes) -> bytes:
        try:
            response = pool.urlopen(
                "POST",
                url,
                body=request,
                headers={"content-type": "application/cbor"},
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=_READ_SECONDS),
            )
            try:
                content = response.read(MAX_ANSWER_BYTES + 1, decode_content=False)
            finally:
                response.close()
        except (failures.HTTPError, OSError, ValueError) as error:
            raise _failure_of(error, url) from error
        return _answer_of(response.status, content, url)

    return send


def coordinator_time(address: str, tls_authority_pem: str) -> Callable[[], int]:
    """Give what asks a coordinator's listener for its time.

    Args:
        address: `https://HOST:PORT`, with a path if there is one before ours.
        tls_authority_pem: Certificates that the server's must come from.

    Returns:
        A function that gives whole seconds since 1970, of HTTP's `Date`. Nobody signed them. It
        raises a `FedwardError`, as those of `office_line`.

    Raises:
        ConfigurationError: The certificates cannot be read.
    """
    pool = _pool_of(address, tls_authority_pem)
    url = address.rstrip("/") + _HEALTH_PATH

    def told_seconds() -> int:
        try:
            response = pool.urlopen(
                "GET",
                url,
                redirect=False,
                retries=False,
                preload_content=False,
                timeout=urllib3.Timeout(connect=_TIME_SECONDS, read=_TIME_SECONDS),
            )
            try:
                date = response.headers.get("date", "")
            finally:
                response.close()
        except (failures.HTTPError, OSError, ValueError) as error:
            raise _failure_of(error, url) from error
        return _seconds_of(date, url)

    return told_seconds


def _seconds_of(date: str, url: str) -> int:
    """Read an HTTP date: RFC 9110 section 5.6.7."""
    try:
        return round(parsedate_to_datetime(date[:_MAX_DATE]).timestamp())
    except (ValueError, TypeError, OverflowError) as error:
        raise FedwardError(f"{url} does not tell its time", code=UNREACHABLE) from error


def _pool_of(address: str, pem: str) -> urllib3.PoolManager:
    try:
        context = ssl.create_default_context(cadata=pem)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError(
            "the certificate of the coordinator's TLS authority cannot be read",
            hint="consortium/coordinator-tls.pem of the home holds it, in PEM",
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    proxy = getproxies().get("https")
    if proxy and not proxy_bypass(urlsplit(address).netloc):
        return urllib3.ProxyManager(proxy, ssl_context=context, maxsize=1)
    return urllib3.PoolManager(ssl_context=context, maxsize=1)


def _failure_of(error: Exception, url: str) -> FedwardError:
    reason = getattr(error, "reason", error)
    if isinstance(error, failures.SSLError) or isinstance(reason, ssl.SSLCertVerificationError):
        return UnverifiedMessageError(
            f"the server at {url} is not the one of the invitation: its TLS certificate does not "
            "come from the authority that the invitation names",
            hint="nothing was sent; ask the office by telephone whether its server has another "
            "authority now, and for a new invitation if so",
            code="OFFICE_CERTIFICATE",
        )
    return FedwardError(
        f"{url} does not answer ({type(error).__name__})",
        hint=f"try again later; or {_BY_FILE}",
        code=UNREACHABLE,
    )


def _answer_of(status: int, content: bytes, url: str) -> bytes:
    if status == 200 and len(content) <= MAX_ANSWER_BYTES:
        return content
    if status == 403:
        raise UnverifiedMessageError(
            "the consortium's office refuses the request", hint=_BY_FILE, code=_code_in(content)
        )
    if status == 404:
        raise UnverifiedMessageError(
            f"{url} takes no requests", hint=_BY_FILE, code="OFFICE_BY_FILE"
        )
    if status == 429:
        raise FedwardError(
            f"{url} is asked too often", hint="try again in a minute", code="OFFICE_BUSY"
        )
    raise FedwardError(
        f"{url} answers with status {status}", hint=f"try again later; or {_BY_FILE}",
        code=UNREACHABLE,
    )  # fmt: skip


def _code_in(content: bytes) -> str:
    try:
        code = str(json.loads(content)["code"])
    except (ValueError, KeyError, TypeError, RecursionError):
        code = ""
    return code if _CODE.match(code) else "OFFICE_REFUSES"
