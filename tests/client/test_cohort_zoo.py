"""The whole zoo through the cohort commands and a round: nothing stops, nothing names a patient."""

import csv
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.client.cohorts.dicom_hospital import TASK, read_json
from tests.client.conftest import Site
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.client.zoo_needles import GENERIC, images, needles, present
from tests.tiny_federation import TinyFederation, make_federation

from fedward_client.daemon.app import app
from fedward_common.wire import messages

pytestmark = pytest.mark.real_data

# The hospital's own memory, which no command gives out: patient ids, and UIDs to find images by.
KEPT_AT_THE_SITE = {"index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "snapshots"}


@pytest.fixture
def warned() -> Iterator[list[warnings.WarningMessage]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


@pytest.fixture
def every_line(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """All loggers at DEBUG, those of the DICOM libraries and of Flower too."""
    import highdicom  # noqa: F401
    import pydicom  # noqa: F401

    caplog.set_level(logging.DEBUG)
    for name in list(logging.root.manager.loggerDict):
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


@pytest.fixture
def federation(tmp_path: Path) -> TinyFederation:
    return make_federation(tmp_path / "federation")


@pytest.fixture
def zoo_copy(data_root: Path, tmp_path: Path) -> Path:
    """Every file of the zoo, named by its number: some names there hold a patient's id."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    for number, path in enumerate(images(data_root / "dicom-zoo")):
        shutil.copyfile(path, folder / f"f{number:03}")
    return folder


def registering(folder: Path, home: Path) -> list[str]:
    """Give the arguments of `cohort add`; labels are invented."""
    labels, task = folder.with_name("labels.csv"), folder.with_name("job.toml")
    names = sorted(path.name for path in folder.iterdir())
    lines = [f"{name},{number % 2}\n" for number, name in enumerate(names)]
    labels.write_text("file,label\n" + "".join(lines))
    task.write_text(TASK)
    return [
        "add", "main", "--dicom", str(folder), "--labels", str(labels), "--task", str(task),
        "--burned-in", "allow", "--min-patients", "1", "--max-excluded-share", "1",
        "--home", str(home),
    ]  # fmt: skip


def contents(home: Path) -> dict[str, bytes]:
    """Give all files by name, index and snapshots left out, and of the cache the names alone."""
    return {
        str(path.relative_to(home)): b"" if "cache" in path.parts else path.read_bytes()
        for path in sorted(home.rglob("*"))
        if path.is_file() and not KEPT_AT_THE_SITE & {path.name, path.parent.name}
    }


def logged(caught: list[warnings.WarningMessage], caplog: pytest.LogCaptureFixture) -> str:
    lines = [record.getMessage() for record in caplog.records]
    return "\n".join([*lines, caplog.text, *(str(one.message) for one in caught)])


def run_commands(site: Site, zoo: Path, home: Path) -> str:
    """Run every command about a cohort in this process; give all that was told."""
    told = ""
    page = home.with_name("page.html")
    for command in (
        registering(zoo, home),
        ["check", "main"],
        ["check", "main", "--json"],
        ["update", "main"],
        ["list"],
        ["report", "main"],
        ["report", "main", "--local", "--html", str(page)],
    ):
        where = [] if "--home" in command else ["--home", str(home)]
        ended = site(["cohort", *command, *where])
        assert ended.code == 0, ended.err
        told += ended.out + ended.err
        if command[-1] == "--json":
            summary = read_json(ended.out)
            assert summary["found"] >= len(list(zoo.iterdir())) - 10
            assert summary["cases"] > 40
    return told + page.read_text()


def run_process(home: Path) -> bytes:
    """Run the command as the hospital does, its workers' and its own warnings unfiltered."""
    ended = subprocess.run(
        [sys.executable, "-m", "fedward_client", "cohort", "update", "main", "--home", str(home)],
        env={**os.environ, "PYTHONWARNINGS": "always"}, capture_output=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def messages_out(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """All bytes of every reply that the site's handlers give."""
    sent: list[bytes] = []

    def recorded(message: Any, context: Any) -> Any:
        reply = app(message, context)
        sent.append(repr((reply.metadata, reply.error if reply.has_error() else "")).encode())
        if not reply.has_error():
            for record in reply.content.config_records.values():
                sent.extend(
                    v if isinstance(v, bytes) else repr(v).encode() for v in record.values()
                )
            for arrays in reply.content.array_records.values():
                sent.extend(array.data for array in arrays.values())
        return reply

    monkeypatch.setattr("tests.client.daemon.asked_site.app", recorded)
    return sent


def run_round(federation: TinyFederation, folder: Path) -> None:
    setup = federation.set_up(folder)
    coordinator = Coordinator(federation, setup, setup.key)
    assert isinstance(coordinator.propose().message, messages.ManifestReply)
    weights = {messages.WEIGHTS: coordinator.weights}
    trained = coordinator.ask("train.round", messages.TrainRound(evaluate=True), weights)
    assert isinstance(trained.message, messages.TrainReply)
    for kind, split in (("validation", "validation"), ("final", "test")):
        query = messages.EvaluateWeights(split)  # type: ignore[arg-type]
        answer = coordinator.ask(f"evaluate.{kind}", query, weights).message
        assert isinstance(answer, messages.EvaluateReply)
    refused = coordinator.train(subject=coordinator.subject(run="another"))  # into site.log
    assert refused.message == messages.Refusal("UNKNOWN_RUN")


def test_no_needle_of_the_zoo_is_printed_logged_warned_reported_or_sent(
    site: Site,
    data_root: Path,
    zoo_copy: Path,
    federation: TinyFederation,
    tmp_path: Path,
    every_line: pytest.LogCaptureFixture,
    warned: list[warnings.WarningMessage],
    messages_out: list[bytes],
) -> None:
    home = federation.homes[SITE]
    next(home.rglob("main.toml")).unlink()  # arrays that the site offered under this name
    told = run_commands(site, zoo_copy, home)
    of_a_process = run_process(home)
    run_round(federation, tmp_path / "run")
    assert len(messages_out) > 4 and any(len(one) > 1000 for one in messages_out)
    wanted = needles(data_root / "dicom-zoo")
    assert len(wanted) > 100
    kept = contents(home)
    names = "\n".join(kept)
    lacking = {one for one in ("/reports/", "quarantine.csv", "site.log") if one not in names}
    assert lacking == set() and any(name.startswith("cache/") for name in kept)
    found = {
        "printed": present(wanted, told),
        "printed by a process": present(wanted, of_a_process),
        "logged or warned": present(wanted, logged(warned, every_line)),
        "sent": present(wanted, b"\n".join(messages_out)),
        "in a name": present(wanted, names),
        **{name: present(wanted, content) for name, content in kept.items()},
    }
    assert {place: one for place, one in found.items() if one} == {}


def test_the_search_finds_a_needle_however_it_is_written(data_root: Path) -> None:
    zoo = data_root / "dicom-zoo"
    wanted = needles(zoo)
    for told in (
        "x citizen^JAN",
        b"\xff1CT1_",
        r"\u3084\u307e\u3060^\u305f\u308d\u3046",
        "a 11223.",
    ):
        assert len(present(wanted, told)) >= 1, told
    assert not present(wanted, "0a11223f")  # digits inside a hash
    with (zoo / "manifest.csv").open(encoding="utf-8") as file:
        names = {row["patient_name"].casefold() for row in csv.DictReader(file)}
    assert {name for name in names if len(name) >= 4} - wanted <= set(GENERIC)
