"""Every command on the pages for those who operate Fedward is one that there is."""

import dataclasses
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from fedward_client.cli import app as site_app
from fedward_client.daemon.site_health import PROGRAM as SITE
from fedward_client.jobs.jobs_policy import JobsPolicy
from fedward_client.jobs.limits_policy import LimitsPolicy
from fedward_server.cli import app as fedward_app
from fedward_server.coordinator.health import PROGRAM as COORDINATOR

PAGES = ("HOSPITAL.md", "COORDINATOR.md")
APPS = {"fedward": fedward_app, "fedward-site": site_app}
_BLOCK = re.compile(r"^ *```\n(.*?)^ *```", re.M | re.S)
_INLINE = re.compile(r"`(fedward(?:-site)? [^`]+)`")
_OPTION = re.compile(r"--[a-z][a-z-]*")


def commands_on(page: str) -> Iterator[str]:
    for block in _BLOCK.findall(page):
        for line in block.splitlines():
            if found := re.search(r"\bfedward(-site)? (?!fedward).*", line):
                yield re.split(r"   +", found[0])[0]
    yield from _INLINE.findall(page)


def problem_of(text: str) -> str:
    """Say what a command line names that is not there; empty where all is."""
    program, *words = shlex.split(text)
    if program not in APPS:
        return ""
    command = typer.main.get_command(APPS[program])
    while isinstance(command, typer.core.TyperGroup) and words and not words[0].startswith("-"):
        word = words.pop(0).rstrip(",")
        if word not in command.commands:
            return "" if command.name == "ledger" else f"no command {word}"
        command = command.commands[word]
    known = {option for one in command.params for option in one.opts}
    return ", ".join(sorted(set(_OPTION.findall(text)) - known))


@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_has_the_name_and_the_options_that_it_shows(
    project_root: Path, name: str
) -> None:
    commands = list(commands_on((project_root / "docs" / name).read_text(encoding="utf-8")))
    assert len(commands) > 15
    assert {text: found for text in commands if (found := problem_of(text))} == {}


def test_a_command_that_is_not_there_is_found() -> None:
    assert problem_of("fedward coordinator polish --home x") == "no command polish"
    assert problem_of("fedward-site approve 3f --cohort a --all") == "--all"


@pytest.mark.parametrize("kind", [JobsPolicy, LimitsPolicy])
def test_every_key_of_a_policy_is_explained(
    project_root: Path, kind: type[JobsPolicy] | type[LimitsPolicy]
) -> None:
    page = (project_root / "docs" / "HOSPITAL.md").read_text(encoding="utf-8")
    assert [one.name for one in dataclasses.fields(kind) if f"`{one.name}`" not in page] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("HOSPITAL.md", "client/fedward_client/daemon/site_health.py"),
        ("COORDINATOR.md", "server/fedward_server/coordinator/health.py"),
    ],
)
def test_every_metric_is_named(project_root: Path, name: str, source: str) -> None:
    page = (project_root / "docs" / name).read_text(encoding="utf-8")
    text = (project_root / source).read_text(encoding="utf-8")
    names = re.findall(r"[fF]igure\(\s*\"([a-z_]+)\"", text)
    assert len(names) > 8
    assert [one for one in names if one not in page] == []
    assert f"{SITE if name == 'HOSPITAL.md' else COORDINATOR}_" in page
