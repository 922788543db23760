"""What can go wrong with a DICOMweb server, by code; no text made here names a URL or a UID."""

from fedward_common.errors import CohortError

E_SERVER_UNREACHABLE = "E_SERVER_UNREACHABLE"
E_SERVER_CERTIFICATE = "E_SERVER_CERTIFICATE"
E_SERVER_REFUSED = "E_SERVER_REFUSED"
E_SERVER_NOT_FOUND = "E_SERVER_NOT_FOUND"
E_SERVER_ANSWER = "E_SERVER_ANSWER"
E_SERVER_TOO_LARGE = "E_SERVER_TOO_LARGE"

_HINTS = {
    E_SERVER_UNREACHABLE: "check url and proxy, and whether the server is up",
    E_SERVER_CERTIFICATE: "name the authority of its certificate as ca_file",
    E_SERVER_REFUSED: "check user, secret_file and the account's rights",
    E_SERVER_NOT_FOUND: "check url; its path ends where '/studies' follows",
    E_SERVER_ANSWER: "is url the base of a DICOMweb service? look into the server's log",
    E_SERVER_TOO_LARGE: "raise max_instance_bytes or temporary_quota_bytes if it is meant to be",
}


class DicomWebError(CohortError):
    """A request failed for good; `code` says how.

    Args:
        code: One of this module's.
        reason: A few words without anything the server said.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"DICOMweb: {reason}", hint=_HINTS[code], code=code)
        self.reason = reason


class PassingError(DicomWebError):
    """The same request may succeed a moment later."""
