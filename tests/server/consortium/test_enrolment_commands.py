"""Both command lines together: from an empty folder to a member, by files alone."""

import json
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fedward_client.enrolment import command
from fedward_common.consortium.tls_authority import pem_of_tls_authority
from fedward_server.consortium.office_folder import Office

PASSPHRASE = "five words nobody would guess"


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run `fedward ...` or `fedward-site ...` in an empty folder, as their own `main`s do."""
    from fedward_client import cli as site_cli
    from fedward_server import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    Path("passphrase").write_text(PASSPHRASE)
    Path("passphrase").chmod(0o600)
    mains = {"fedward": cli.main, "fedward-site": site_cli.main}

    def work(*arguments: str) -> Ended:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", list(arguments))
        code = 0
        try:
            mains[arguments[0]]()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        assert PASSPHRASE not in captured.out + captured.err
        return Ended(code, captured.out, captured.err)

    return work


SECRET = ("--passphrase-file", "passphrase")


def office(run: Run, command: str, *more: str) -> Ended:
    return run("fedward", "consortium", command, *more, "--home", "office")


def words_of(ended: Ended) -> str:
    return " ".join(ended.json()["words"])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the office that `with_coordinator` made is kept for the next test."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def with_coordinator(run: Run, kept: Path, tmp_path: Path) -> Run:
    """An office whose coordinator is a member."""
    if not any(kept.iterdir()):
        found_with_coordinator(run)
        shutil.copytree(tmp_path, kept, dirs_exist_ok=True)
    else:
        shutil.copytree(kept, tmp_path, dirs_exist_ok=True)
    return run


def found_with_coordinator(run: Run) -> None:
    office(run, "init", "--name", "Lung network", *SECRET, "--json").json()
    invited = office(
        run, "invite", "--coordinator", "--organisation", "University", "--out", "co.token"
    )
    assert invited.code == 0
    token = ("--token-file", "co.token")
    asked = run("fedward", "coordinator", "join", *token, "--home", "co", "--json")
    words = ("--fingerprint", words_of(asked))
    files = ("--request", "co/request.cbor", "--out", "co.answer")
    office(run, "approve", "coordinator", *files, *words, *SECRET, "--json").json()
    joined = run("fedward", "coordinator", "join", "--answer", "co.answer", "--home", "co")
    assert joined.code == 0, joined.err


def join(run: Run, site: str, organisation: str) -> Ended:
    token = f"{site}.token"
    office(run, "invite", site, "--organisation", organisation, "--out", token, "--json").json()
    asked = run("fedward-site", "join", "--token-file", token, "--home", site, "--json")
    files = ("--request", f"{site}/enrolment/request.cbor", "--out", f"{site}.answer")
    words = ("--fingerprint", words_of(asked))
    office(run, "approve", site, *files, *words, *SECRET, "--json").json()
    return run("fedward-site", "join", "--answer", f"{site}.answer", "--home", site, "--json")


def test_a_hospital_joins_by_two_commands_and_two_files(with_coordinator: Run) -> None:
    run = with_coordinator
    joined = join(run, "north", "North Hospital").json()
    assert (joined["member"], joined["roster_version"]) == (True, 2)
    shown = run("fedward-site", "roster", "--home", "north", "--json").json()
    assert [one["site"] for one in shown["accepted"]["members"]] == ["coordinator", "north"]
    told = office(run, "roster", "--json").json()
    assert [(one["site"], one["state"]) for one in told["members"]] == [
        ("coordinator", "member"),
        ("north", "member"),
    ]
    assert told["invitations"] == []


def test_a_hospital_joins_online_with_one_command_that_may_be_given_again(
    with_coordinator: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_coordinator
    lines: list[str] = []

    def line_to_office(address: str, tls_authority_pem: str) -> Callable[[bytes], bytes]:
        lines.append(f"{address} {tls_authority_pem}")
        return lambda request: Office(Path("office")).answer(request, now_seconds=time.time())

    monkeypatch.setattr(command, "office_line", line_to_office)
    pem = pem_of_tls_authority(Path("co/authority.der").read_bytes()).decode()
    Path("ca.pem").write_text(pem)
    where = ("--address", "https://co.example:9443", "--tls-authority", "ca.pem")
    named = ("--organisation", "North Hospital", "--out", "north.token")
    office(run, "invite", "north", *named, *where, "--json").json()
    join = ("fedward-site", "join", "--home", "north")
    asked = run(*join, "--token-file", "north.token", "--no-wait", "--json")
    assert (asked.json()["member"], asked.json()["sent"]) == (False, True)
    assert "waits at the office" in run(*join, "--no-wait").err
    words = ("--fingerprint", words_of(asked))
    office(run, "approve", "north", *words, *SECRET, "--json").json()
    assert run(*join, "--json").json()["member"] is True
    assert set(lines) == {f"https://co.example:9443 {pem}"}
    assert Path("north/consortium/coordinator-tls.pem").read_text() == pem
    assert 'coordinator_address = "co.example:9443"' in Path("north/site.toml").read_text()


def test_who_ends_the_waiting_is_told_how_to_go_on(
    with_coordinator: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = with_coordinator

    def interrupted(request: bytes) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "office_line", lambda *_: interrupted)
    Path("ca.pem").write_bytes(pem_of_tls_authority(Path("co/authority.der").read_bytes()))
    where = ("--address", "https://co.example:9443", "--tls-authority", "ca.pem")
    named = ("--organisation", "North Hospital", "--out", "north.token")
    office(run, "invite", "north", *named, *where, "--json").json()
    ended = run("fedward-site", "join", "--home", "north", "--token-file", "north.token")
    assert ended.code == 130
    assert "join asks again" in ended.err


@pytest.mark.parametrize(
    "where",
    [
        ("--address", "https://co.example"),
        ("--tls-authority", "co.pem"),
        ("--address", "https://co.example", "--tls-authority", "passphrase"),
    ],
)
def test_an_address_and_its_tls_authority_are_invited_with_together(
    with_coordinator: Run, where: tuple[str, ...]
) -> None:
    Path("co.pem").write_bytes(pem_of_tls_authority(Path("co/authority.der").read_bytes()))
    named = ("--organisation", "North Hospital", "--out", "north.token")
    ended = office(with_coordinator, "invite", "north", *named, *where)
    assert ended.code == 2
    assert "hint: " in ended.err
    assert not Path("north.token").exists()


def test_the_token_is_shown_once_and_its_file_is_private(with_coordinator: Run) -> None:
    run = with_coordinator
    shown = office(run, "invite", "north", "--organisation", "North Hospital")
    assert shown.out.startswith("fedward-invitation-1.")
    assert shown.out.strip() not in office(run, "roster").out
    assert shown.out.strip().split(".")[1] not in Path("office/register.jsonl").read_text()
    assert stat.S_IMODE(Path("co.token").stat().st_mode) == 0o600


def test_nobody_is_admitted_before_the_words_were_compared(with_coordinator: Run) -> None:
    run = with_coordinator
    office(run, "invite", "north", "--organisation", "North Hospital", "--out", "north.token")
    run("fedward-site", "join", "--token-file", "north.token", "--home", "north")
    files = ("--request", "north/enrolment/request.cbor", "--out", "north.answer")
    unasked = office(run, "approve", "north", *files, *SECRET)
    assert (unasked.code, "nobody compared" in unasked.err) == (2, True)
    wrong = office(run, "approve", "north", *files, *SECRET, "--fingerprint", "acorn actor")
    assert (wrong.code, "fingerprint words" in wrong.err) == (1, True)
    assert not Path("north.answer").exists()
    assert len(office(run, "roster", "--json").json()["members"]) == 1


def test_a_renewal_by_files_leaves_the_roster_as_it_was(with_coordinator: Run) -> None:
    run = with_coordinator
    join(run, "north", "North Hospital")
    before = office(run, "roster", "--json").json()["roster"]
    run("fedward-site", "renew", "--home", "north", "--json").json()
    files = ("--request", "north/enrolment/renewal.cbor", "--out", "next.answer")
    office(run, "renew", "north", *files, *SECRET, "--json").json()
    took = run("fedward-site", "renew", "--answer", "next.answer", "--home", "north", "--json")
    assert took.json()["renewed"]
    assert office(run, "roster", "--json").json()["roster"] == before


def test_a_removed_site_is_in_no_roster_and_its_node_may_not_connect(with_coordinator: Run) -> None:
    run = with_coordinator
    join(run, "north", "North Hospital")
    join(run, "south", "South Hospital")
    office(run, "roster", "--coordinator-home", "co", "--json").json()
    assert sorted(p.name for p in Path("co/nodes").iterdir()) == ["north.cbor", "south.cbor"]
    assert office(run, "revoke", "north", *SECRET).code == 0
    told = office(run, "roster", "--coordinator-home", "co", "--json").json()
    assert [one["site"] for one in told["members"]] == ["coordinator", "south"]
    assert [p.name for p in Path("co/nodes").iterdir()] == ["south.cbor"]
    left = run("fedward-site", "leave", "--home", "north", "--yes", "--json").json()
    assert left == {"left": True}
    assert run("fedward-site", "renew", "--home", "north").code == 2


def test_what_the_coordinator_was_handed_verifies(with_coordinator: Run) -> None:
    from fedward_common.consortium.certificates import read_authority
    from fedward_common.consortium.node_key import verify_node_key
    from fedward_common.consortium.roster import certificates_of_roster, verify_roster

    run = with_coordinator
    join(run, "north", "North Hospital")
    office(run, "roster", "--coordinator-home", "co", "--out", "roster.cbor")
    authority = read_authority(Path("co/authority.der").read_bytes())
    signed = Path("co/roster.cbor").read_bytes()
    assert signed == Path("roster.cbor").read_bytes()
    now = authority.not_before_seconds + 2 * 24 * 3600
    roster = verify_roster(signed, authority, now_seconds=now)
    assert len(certificates_of_roster(signed, authority, now_seconds=now)) == 2
    assert verify_node_key(Path("co/nodes/north.cbor").read_bytes(), roster).site == "north"


def test_a_backup_comes_back_and_passes_over_versions_that_were_seen(with_coordinator: Run) -> None:
    run = with_coordinator
    office(run, "backup", "--out", "office.backup", *SECRET, "--json").json()
    join(run, "north", "North Hospital")
    restore = ("fedward", "consortium", "restore", "office.backup", "--home", "again")
    assert run(*restore, *SECRET).code == 0
    refresh = ("fedward", "consortium", "roster", "--home", "again", "--refresh", "--above", "2")
    told = run(*refresh, *SECRET, "--json").json()
    assert told["roster"]["version"] == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("consortium", "invite", "--organisation", "x"), "--coordinator"),
        (("consortium", "invite", "a", "--coordinator", "--organisation", "x"), "--coordinator"),
        (("consortium", "approve", "north"), "no request"),
        (("consortium", "approve", "north", "--request", "passphrase"), "MALFORMED"),
        (("consortium", "revoke", "north"), "no member"),
        (("consortium", "roster", "--coordinator-home", "office"), "coordinator's home"),
        (("consortium", "renew", "north", "--request", "co/request.cbor"), "renewal"),
        (("consortium", "approve", "coordinator", "--request", "co.answer"), ""),
    ],
)
def test_a_wrong_use_is_one_line_and_a_hint(
    with_coordinator: Run, arguments: tuple[str, ...], words: str
) -> None:
    ended = with_coordinator("fedward", *arguments, "--home", "office")
    lines = [line for line in ended.err.splitlines() if line]
    assert ended.code in (1, 2)
    assert lines[-2].startswith("error: ")
    assert lines[-1].startswith("hint: ")
    assert words.replace("MALFORMED", "error") in ended.err


@pytest.mark.parametrize(
    "command", ["init", "invite", "approve", "renew", "revoke", "roster", "backup", "restore"]
)
def test_every_command_of_the_office_shows_an_example(run: Run, command: str) -> None:
    ended = run("fedward", "consortium", command, "--help")
    assert (ended.code, "Example:" in ended.out) == (0, True)


@pytest.mark.parametrize("command", ["join", "renew", "leave", "roster"])
def test_every_command_of_a_membership_shows_an_example(run: Run, command: str) -> None:
    ended = run("fedward-site", command, "--help")
    assert (ended.code, "Example:" in ended.out) == (0, True)
