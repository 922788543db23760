"""What leaves a site when something breaks: a code, and nothing else."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.client.daemon.asked_site import SITE, Coordinator
from tests.tiny_federation import make_federation

from fedward_client.daemon import site_work
from fedward_common.wire import messages


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> str:
    """A library that quotes a patient in its exception."""
    name = "Schmidt^Anna"

    def explode(*args: object, **kwargs: object) -> None:
        raise ValueError(f"cannot decode PatientName={name}")

    monkeypatch.setattr(site_work, "_array", explode)
    return name


def test_an_exceptions_text_never_leaves_the_site(
    accepted: Coordinator, broken: str, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = accepted.train()
    assert answer.message == messages.Refusal("INTERNAL_ERROR")
    log = (accepted.federation.homes[SITE] / "site.log").read_text()
    assert "ValueError" in log.splitlines()[-1]
    assert broken not in answer.text + log + "".join(capfd.readouterr())


def test_an_exception_before_the_message_is_verified_leaves_as_a_code(
    accepted: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*args: object) -> None:
        raise RuntimeError("PatientName=Schmidt^Anna")

    monkeypatch.setattr("fedward_client.daemon.app.envelope_of", explode)
    answer = accepted.train()
    assert answer.error == "INTERNAL_ERROR"
    assert "Schmidt" not in answer.text


def test_a_site_logs_in_its_own_home_even_where_another_home_has_its_name(
    accepted: Coordinator, tmp_path: Path
) -> None:
    other = make_federation(tmp_path / "other")
    setup = other.set_up(tmp_path / "other-run")
    stranger = Coordinator(other, setup, setup.key)
    stranger.train()
    assert "UNKNOWN_RUN" in (other.homes[SITE] / "site.log").read_text()
    own = accepted.federation.homes[SITE] / "site.log"
    lines = own.read_text().count("\n") if own.exists() else 0
    stranger.train()
    assert (own.read_text().count("\n") if own.exists() else 0) == lines


def test_a_disk_that_is_full_at_the_site_leaves_as_its_code(
    accepted: Coordinator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(path: Any, *args: Any, **kwargs: Any) -> Any:
            if Path(path).name.startswith(("activity.jsonl", ".test-sums.npy")):
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(path, *args, **kwargs)

        return opened

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full(Path.open))
        patched.setattr(os, "open", full(os.open))
        assert accepted.train().message == messages.Refusal("DISK_FULL")
        query = messages.EvaluateWeights("test")
        answer = accepted.ask("evaluate.final", query, {messages.WEIGHTS: accepted.weights})
        assert answer.message == messages.Refusal("DISK_FULL")
    assert isinstance(accepted.train().message, messages.TrainReply)


def test_a_sites_record_of_its_work_holds_seconds_and_no_loss(accepted: Coordinator) -> None:
    accepted.train()
    folder = accepted.federation.homes[SITE] / "runs" / accepted.setup.manifest.run
    entry = json.loads((folder / "activity.jsonl").read_text().splitlines()[-1])
    assert set(entry) == {"round", "attempt", "training_seconds", "evaluation_seconds"}
