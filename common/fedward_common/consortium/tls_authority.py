"""The certificate that vouches for a coordinator's TLS: of an authority, or the server's own.

It is public. It says nothing about who belongs to a consortium, and its authority signs no member.
"""

from fedward_common.errors import ConfigurationError

MAX_TLS_AUTHORITY_BYTES = 3000

_PEM_BEGIN = b"-----BEGIN CERTIFICATE-----"


def parse_tls_authority(unverified_der: bytes) -> bytes:
    """Accept one X.509 certificate in DER.

    Raises:
        ConfigurationError: It is none, or is too large for a token.
    """
    from cryptography import x509

    if len(unverified_der) > MAX_TLS_AUTHORITY_BYTES:
        raise ConfigurationError(
            f"a TLS authority's certificate has {len(unverified_der)} bytes, "
            f"{MAX_TLS_AUTHORITY_BYTES} fit in a token",
            hint="name one authority, with one key",
        )
    try:
        x509.load_der_x509_certificate(unverified_der)
    except ValueError as error:
        raise ConfigurationError("a TLS authority's certificate cannot be read") from error
    return unverified_der


def tls_authority_of_pem(pem: bytes) -> bytes:
    """Read the one certificate of a PEM file; give its DER.

    Raises:
        ConfigurationError: There is none, or more than one.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    found = pem.count(_PEM_BEGIN)
    if found != 1:
        raise ConfigurationError(
            f"the file of the TLS authority holds {found} certificates, one is needed",
            hint="the authority's own, in PEM, or the server's where it signed itself",
        )
    try:
        der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    except ValueError as error:
        raise ConfigurationError(
            "the file of the TLS authority cannot be read", hint="it is one certificate in PEM"
        ) from error
    return parse_tls_authority(der)


def pem_of_tls_authority(der: bytes) -> bytes:
    """Give the certificate as a PEM file."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
