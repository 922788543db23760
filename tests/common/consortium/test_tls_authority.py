"""One certificate, in the forms that an office is given and a site keeps."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.common.consortium.consortium_office import AUTHORITY

from fedward_common.consortium.tls_authority import (
    parse_tls_authority,
    pem_of_tls_authority,
    tls_authority_of_pem,
)
from fedward_common.errors import ConfigurationError

PEM = x509.load_der_x509_certificate(AUTHORITY.der).public_bytes(Encoding.PEM)


def test_a_certificate_goes_from_pem_to_the_token_and_back() -> None:
    assert tls_authority_of_pem(b"# our own authority\n" + PEM) == AUTHORITY.der
    assert pem_of_tls_authority(AUTHORITY.der) == PEM


@pytest.mark.parametrize("pem", [b"", b"hello", PEM + PEM, PEM.replace(b"M", b"!"), AUTHORITY.der])
def test_a_file_holds_one_certificate_and_no_other_number(pem: bytes) -> None:
    with pytest.raises(ConfigurationError):
        tls_authority_of_pem(pem)


@pytest.mark.parametrize("der", [b"", b"\x30", AUTHORITY.der[:-1], bytes(3001)])
def test_other_bytes_are_no_certificate(der: bytes) -> None:
    with pytest.raises(ConfigurationError):
        parse_tls_authority(der)
