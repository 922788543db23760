"""Certificates that hold, and what issuing refuses; those that do not hold are in the next file."""

import dataclasses
from typing import Any

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.common.consortium.consortium_office import (
    AUTHORITY,
    AUTHORITY_KEY,
    BEGIN,
    DAY,
    END,
    NOW,
    authority_of,
    certificate_of,
    counted_entropy,
    forged,
    key_of,
)

from fedward_common.consortium.certificates import (
    SiteCertificate,
    make_authority,
    read_authority,
    verify_certificate,
)
from fedward_common.errors import ConfigurationError, UnverifiedMessageError


def content(certificate: SiteCertificate) -> dict[str, Any]:
    fields = {f.name: getattr(certificate, f.name) for f in dataclasses.fields(certificate)}
    return fields | {"key": certificate.key.raw}


@given(
    site=st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True).filter(
        lambda name: name != "coordinator"
    ),
    organisation=st.sampled_from(
        ["a", "Klinikum Süd", "Hôpital de la Côte", "東京 病院", "x" * 64]
    ),
)
@settings(max_examples=40)
def test_what_was_issued_verifies_and_says_the_same(site: str, organisation: str) -> None:
    issued = certificate_of(site, organisation=organisation)
    verified = verify_certificate(issued.der, AUTHORITY, now_seconds=NOW)
    assert content(verified) == content(issued)
    assert (verified.site, verified.organisation, verified.role) == (site, organisation, "site")
    assert (verified.not_before_seconds, verified.not_after_seconds) == (BEGIN, END)


def test_the_coordinators_certificate_has_its_role() -> None:
    issued = certificate_of("coordinator")
    assert verify_certificate(issued.der, AUTHORITY, now_seconds=NOW).role == "coordinator"


def test_the_same_serial_number_and_time_give_the_same_bytes() -> None:
    def once() -> bytes:
        return certificate_of(entropy=lambda length: bytes([7] * length)).der

    assert once() == once()
    assert once() != certificate_of().der


def test_a_serial_number_is_positive_and_has_at_most_twenty_octets() -> None:
    for filled in (b"\x00", b"\xff"):
        issued = certificate_of(entropy=lambda length, filled=filled: filled * length)
        assert 0 < issued.serial < 1 << 159


def test_other_tools_read_a_certificate_as_x509_version_3() -> None:
    found = x509.load_der_x509_certificate(certificate_of().der)
    assert found.version is x509.Version.v3
    assert found.subject.rfc4514_string() == "CN=alder,O=alder hospital"
    assert found.issuer.rfc4514_string() == "CN=Fedward certificate authority,O=harbour"
    found.verify_directly_issued_by(x509.load_der_x509_certificate(AUTHORITY.der))


def test_a_hand_made_certificate_of_the_right_form_is_taken() -> None:
    """So each refusal of the next file is for the one thing that it changes."""
    assert verify_certificate(forged(), AUTHORITY, now_seconds=NOW).site == "alder"


@pytest.mark.parametrize("now_seconds", [BEGIN, BEGIN + 0.5, END - 0.5, END])
def test_a_certificate_counts_from_its_first_to_its_last_second(now_seconds: float) -> None:
    verify_certificate(certificate_of().der, AUTHORITY, now_seconds=now_seconds)


def test_the_authority_is_read_as_it_was_made() -> None:
    again = read_authority(AUTHORITY.der)
    assert (again.consortium, again.key.raw) == ("harbour", AUTHORITY_KEY.verifying_key.raw)
    assert (again.not_before_seconds, again.not_after_seconds) == (BEGIN - DAY, END + DAY)
    assert again.serial == AUTHORITY.serial


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"site": "al der"}, "site name"),
        ({"site": "", "organisation": "a"}, "site name"),
        ({"site": "coordinator", "role": "site"}, "site name"),
        ({"site": "alder", "role": "coordinator"}, "coordinator is named"),
        ({"organisation": "two\nlines"}, "organisation"),
        ({"organisation": ""}, "organisation"),
        ({"not_before_seconds": END, "not_after_seconds": BEGIN}, "before it begins"),
        ({"not_before_seconds": BEGIN, "not_after_seconds": BEGIN}, "before it begins"),
        ({"not_after_seconds": END + DAY + 1}, "outlive"),
        ({"not_before_seconds": BEGIN - DAY - 1}, "outlive"),
        ({"key": AUTHORITY_KEY.verifying_key}, "signed itself"),
    ],
)
def test_what_would_be_refused_is_not_issued(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        certificate_of(**changes)


def test_another_key_than_the_authoritys_issues_nothing() -> None:
    from fedward_common.consortium.certificates import issue_certificate

    with pytest.raises(ConfigurationError, match="authority"):
        issue_certificate(
            key_of("somebody"), AUTHORITY, site="alder", organisation="a", role="site",
            key=key_of("alder").verifying_key, not_before_seconds=BEGIN, not_after_seconds=END,
            entropy=counted_entropy,
        )  # fmt: skip


@pytest.mark.parametrize("consortium", ["", " ", "two\nlines", "x" * 65, "wide\u00a0space"])
def test_a_consortium_needs_a_name_of_one_line(consortium: str) -> None:
    with pytest.raises(ConfigurationError):
        authority_of(consortium)


def test_an_authority_whose_time_is_over_before_it_begins_is_not_made() -> None:
    with pytest.raises(ConfigurationError):
        make_authority(
            AUTHORITY_KEY, consortium="harbour", not_before_seconds=END, not_after_seconds=BEGIN,
            entropy=counted_entropy,
        )  # fmt: skip


@pytest.mark.parametrize("der", [b"", b"\x30", certificate_of().der, AUTHORITY.der[:-1]])
def test_what_is_no_authoritys_certificate_is_not_pinned(der: bytes) -> None:
    with pytest.raises(ConfigurationError):
        read_authority(der)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_changed_byte_of_the_pinned_certificate_is_found() -> None:
    for position in range(len(AUTHORITY.der)):
        changed = bytearray(AUTHORITY.der)
        changed[position] ^= 1
        with pytest.raises(ConfigurationError):
            read_authority(bytes(changed))


def test_an_authority_that_counts_no_longer_vouches_for_nobody() -> None:
    short = dataclasses.replace(AUTHORITY, not_after_seconds=NOW - 1)
    with pytest.raises(UnverifiedMessageError) as caught:
        verify_certificate(certificate_of().der, short, now_seconds=NOW)
    assert caught.value.code == "CERT_AUTHORITY_EXPIRED"
