"""How long the coordinator's TLS certificate still counts."""

from pathlib import Path

from cryptography import x509

from fedward_common.errors import ConfigurationError

WARNING_DAYS = 14

_DAY_SECONDS = 24 * 3600


def days_left(certificate_file: Path, *, now_seconds: float) -> float:
    """Give the days until the certificate expires.

    Raises:
        ConfigurationError: It cannot be read, or is out of its time (`CERT_EXPIRED`).
    """
    try:
        certificate = x509.load_pem_x509_certificates(certificate_file.read_bytes())[0]
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError(
            f"{certificate_file} cannot be read as a certificate", hint="it is a PEM file"
        ) from error
    ends = certificate.not_valid_after_utc.timestamp()
    if not certificate.not_valid_before_utc.timestamp() <= now_seconds < ends:
        raise ConfigurationError(
            f"{certificate_file} is out of its time; it ends {certificate.not_valid_after_utc}",
            hint="renew it, then start again; runs go on where they were",
            code="CERT_EXPIRED",
        )
    return (ends - now_seconds) / _DAY_SECONDS
