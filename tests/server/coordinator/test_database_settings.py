"""The database's URL: what is taken, and that a password is nowhere but in its file."""

import dataclasses
import datetime
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.real_federation import write_tls

from fedward_common.crypto.secret_bytes import SecretBytes
from fedward_common.errors import ConfigurationError
from fedward_server.coordinator.coordinator_home import CoordinatorHome, CoordinatorSettings
from fedward_server.coordinator.database_settings import (
    PostgreSQLDatabase,
    postgresql_of,
    require_database_url,
)

NEEDLE = "needle-of-a-password"


def test_a_url_names_user_server_and_database() -> None:
    assert postgresql_of("postgresql://fed%40a@127.0.0.1/flower") == PostgreSQLDatabase(
        user="fed@a", name="flower", host="127.0.0.1", port=5432
    )
    assert postgresql_of("postgresql+pg8000://u@[::1]:7/d").port == 7
    on_socket = postgresql_of("postgresql://u@/d?unix_sock=/run/postgresql/.s.PGSQL.5432")
    assert (on_socket.host, on_socket.socket) == ("", "/run/postgresql/.s.PGSQL.5432")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("superlink.sqlite", "has the scheme ''"),
        ("sqlite:///superlink.sqlite", "has the scheme 'sqlite'"),
        ("postgresql+psycopg://u@localhost/d", "has the scheme 'postgresql\\+psycopg'"),
        (f"postgresql://u:{NEEDLE}@localhost/d", "holds a password"),
        (f"postgresql://u@localhost/d?password={NEEDLE}", "says more than can be used"),
        ("postgresql://localhost/d", "lacks user or name"),
        ("postgresql://u@localhost", "lacks user or name"),
        ("postgresql://u@localhost/d/e", "lacks user or name"),
        ("postgresql://u@localhost/d#e", "says more"),
        ("postgresql://u@/d", "names no server, or two"),
        ("postgresql://u@localhost/d?unix_sock=/s", "names no server, or two"),
        ("postgresql://u@localhost:port/d", "cannot be read"),
        (f"postgresql://u:{NEEDLE}@[::1/d", "cannot be read"),
        (f"postgresql://u@localhost/d?{NEEDLE}", "cannot be read"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as refused:
        require_database_url(url)
    assert refused.value.hint
    assert NEEDLE not in f"{refused.value}{refused.value.hint}{refused.value.__cause__!r}"


@given(st.text(max_size=80))
def test_any_text_is_a_database_or_a_refusal(text: str) -> None:
    for url in (text, f"postgresql://{text}", f"postgresql://u@localhost/{text}"):
        try:
            require_database_url(url)
        except ConfigurationError as refused:
            assert refused.hint


def test_no_text_of_a_database_or_of_settings_shows_a_password(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(NEEDLE + "\n")
    file.chmod(0o600)
    database = postgresql_of("postgresql://u@localhost/d", file)
    assert database.password == SecretBytes(NEEDLE.encode())
    assert database.connect_arguments(timeout_seconds=5)["password"] == NEEDLE.encode()
    assert NEEDLE not in f"{database!r}{database.text}{database.url}"
    settings = CoordinatorSettings("h", 1, "c", "k", database="postgresql://u@localhost/d")
    assert "postgresql" not in repr(settings)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two\nlines\n", b"nul\0"])
def test_a_password_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    with pytest.raises(ConfigurationError, match="password"):
        postgresql_of("postgresql://u@localhost/d", file)


def test_a_password_that_every_account_could_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(NEEDLE)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="every account of this machine"):
        postgresql_of("postgresql://u@localhost/d", file)


def test_over_a_network_somebody_must_vouch_for_the_server(tmp_path: Path) -> None:
    url = "postgresql://u@db.example/d"
    with pytest.raises(ConfigurationError, match="is not on this machine") as refused:
        postgresql_of(url)
    assert "database_authority_file" in refused.value.hint
    write_tls(tmp_path, datetime.datetime.now(datetime.UTC))
    database = postgresql_of(url, authority_file=tmp_path / "authority.pem")
    context = database.connect_arguments(timeout_seconds=5)["ssl_context"]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    # The driver takes None for TLS with whoever answers.
    here = postgresql_of("postgresql://u@localhost/d").connect_arguments(timeout_seconds=5)
    assert here["ssl_context"] is False
    with pytest.raises(ConfigurationError, match="cannot be read as a certificate"):
        dataclasses.replace(database, authority_file=tmp_path / "none").connect_arguments(
            timeout_seconds=5
        )


def home_with(folder: Path, *lines: str) -> CoordinatorHome:
    (folder / "coordinator.toml").write_text(
        'host = "h"\nport = 1\ncertificate_file = "c"\ncertificate_key_file = "k"\n'
        + "\n".join(lines)
    )
    return CoordinatorHome(folder)


def test_without_a_url_the_database_is_a_file_of_the_home(tmp_path: Path) -> None:
    assert home_with(tmp_path).postgresql() is None
    home = home_with(tmp_path, 'database_password_file = "p"')
    with pytest.raises(ConfigurationError, match="and no database"):
        home.settings()


def test_password_and_authority_lie_below_the_home(tmp_path: Path) -> None:
    write_tls(tmp_path / "tls", datetime.datetime.now(datetime.UTC))
    (tmp_path / "p").write_text(NEEDLE)
    (tmp_path / "p").chmod(0o600)
    home = home_with(
        tmp_path,
        'database = "postgresql://u@db.example/d"',
        'database_password_file = "p"',
        'database_authority_file = "tls/authority.pem"',
    )
    database = home.postgresql()
    assert database is not None
    assert database.authority_file == tmp_path / "tls" / "authority.pem"
    assert database.password == SecretBytes(NEEDLE.encode())
