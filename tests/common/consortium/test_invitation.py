"""The token: what it carries, and every text that is none."""

import base64
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.common.consortium.applicants import invitation_of
from tests.common.consortium.consortium_office import AUTHORITY, NOW

from fedward_common.consortium.invitation import (
    Invitation,
    parse_token,
    require_unexpired,
    token_given,
    token_of,
)
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import ConfigurationError, FedwardError, UnverifiedMessageError
from fedward_common.identities import SiteId

TOKEN = token_of(invitation_of())


def fields_of(invitation: Invitation) -> dict[str, Any]:
    fields = {f.name: getattr(invitation, f.name) for f in dataclasses.fields(invitation)}
    return fields | {"key": invitation.key.to_raw()}


def refusal_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_token(text)
    assert len(str(caught.value)) < 300
    return caught.value.code


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "address": "https://coordinator.example:9443/join",
            "tls_authority": AUTHORITY.der,
        },
        {"organisation": "Hôpital Nord"},
        {"site": SiteId("coordinator"), "role": "coordinator"},
        {"expires_at_seconds": 0},
    ],
)
def test_a_token_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    invitation = invitation_of(**changes)
    assert fields_of(parse_token(token_of(invitation))) == fields_of(invitation)


def test_line_breaks_of_a_mail_program_do_not_matter() -> None:
    wrapped = "\r\n".join(TOKEN[at : at + 60] for at in range(0, len(TOKEN), 60))
    assert fields_of(parse_token(f"  {wrapped}\n")) == fields_of(invitation_of())


def test_nothing_shows_the_tokens_secret() -> None:
    assert invitation_of().key.to_raw().hex() not in repr(invitation_of())
    assert "hidden" in repr(invitation_of())


@pytest.mark.parametrize(
    "text",
    [
        "", "hello", TOKEN[1:], TOKEN[:-1], TOKEN + "A", TOKEN + "=", TOKEN.upper(),
        TOKEN.replace("-1.", "-2."), TOKEN + TOKEN, "x" * 100_000,
        "fedward-invitation-1.", "fedward-invitation-1.AAAA", "fedward-invitation-1.é",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----",
    ],
)  # fmt: skip
def test_another_text_is_no_token(text: str) -> None:
    assert refusal_of(text) == "TOKEN_MALFORMED"


def test_a_mistyped_letter_is_always_found() -> None:
    start = TOKEN.index(".") + 1
    for at in range(start, len(TOKEN)):
        other = "A" if TOKEN[at] != "A" else "B"
        assert refusal_of(TOKEN[:at] + other + TOKEN[at + 1 :]) == "TOKEN_MALFORMED"


@given(content=st.binary(max_size=400))
def test_random_bytes_are_no_token(content: bytes) -> None:
    encoded = base64.urlsafe_b64encode(content).rstrip(b"=").decode()
    assert refusal_of(f"fedward-invitation-1.{encoded}") == "TOKEN_MALFORMED"


@given(text=st.text(max_size=300))
def test_random_text_is_no_token(text: str) -> None:
    assert refusal_of(text) == "TOKEN_MALFORMED"


@given(
    site=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}", fullmatch=True),
    organisation=st.text(max_size=70),
    address=st.text(max_size=60),
    expires=st.integers(-(2**60), 2**60),
    seed=st.binary(min_size=32, max_size=32),
)
def test_whatever_is_invited_comes_back_or_is_refused(
    site: str, organisation: str, address: str, expires: int, seed: bytes
) -> None:
    try:
        invitation = invitation_of(
            site=SiteId(site), organisation=organisation, address=address, role="site",
            expires_at_seconds=expires, key=SigningKey.from_raw(seed),
            tls_authority=AUTHORITY.der if address else b"",
        )  # fmt: skip
        token = token_of(invitation)
    except FedwardError:
        return
    if expires < 0:
        assert refusal_of(token) == "TOKEN_MALFORMED"
    else:
        assert fields_of(parse_token(token)) == fields_of(invitation)


@pytest.mark.parametrize(
    "changes",
    [
        {"site": SiteId("coordinator"), "role": "site"},
        {"site": SiteId("alder"), "role": "coordinator"},
        {"site": SiteId("a/b")},
        {"organisation": " x"},
        {"consortium": ""},
        {"authority_sha256": b""},
        {"address": "http://plain.example", "tls_authority": AUTHORITY.der},
        {"address": "https://user@host.example", "tls_authority": AUTHORITY.der},
        {"address": "https://" + "a" * 300, "tls_authority": AUTHORITY.der},
        {"address": "https://coordinator.example"},
        {"tls_authority": AUTHORITY.der},
        {"address": "https://coordinator.example", "tls_authority": b"no certificate"},
        {"address": "https://coordinator.example", "tls_authority": bytes(3001)},
    ],
)
def test_what_cannot_be_invited_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        invitation_of(**changes)


def test_a_token_counts_to_its_last_second() -> None:
    invitation = invitation_of(expires_at_seconds=NOW)
    require_unexpired(invitation, NOW)
    with pytest.raises(UnverifiedMessageError) as caught:
        require_unexpired(invitation, NOW + 0.5)
    assert caught.value.code == "TOKEN_EXPIRED"


def test_a_command_is_given_exactly_one_of_token_file_and_answer(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    assert token_given(TOKEN, None, None) == TOKEN
    assert token_given(None, file, None) == TOKEN
    assert token_given(None, None, file) == ""
    for given_two in ((None, None, None), (TOKEN, file, None), (TOKEN, None, file)):
        with pytest.raises(ConfigurationError):
            token_given(*given_two)
