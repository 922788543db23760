"""Whatever a site is asked that it does not do: a code leaves, and the hospital can read of it.

Each refusal is one entry of the audit log with the code that left, its line in `site.log` has no
text of a peer or of an exception, and nothing else in the home changes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.attacks.refused_requests import (
    NEEDLE,
    entries_of,
    logged,
    proposed,
    require_written_down,
    state_of,
    trained,
    weights_of,
)
from tests.client.daemon.asked_site import Answered
from tests.client.jobs.asking_coordinator import NOON, PRIVATE, Asking, asking

from fedward_client.daemon import handlers
from fedward_client.daemon.site_state import open_site
from fedward_client.jobs import decisions
from fedward_client.jobs.job_store import MAX_WAITING
from fedward_common.errors import DiskFullError, FedwardError
from fedward_common.wire import messages

# -- before a run was agreed to --------------------------------------------------------------------


def under_policy(jobs: str) -> Callable[[Asking], None]:
    return lambda one: one.write_policy(jobs)


def with_note_of_a_pause(content: str) -> Callable[[Asking], None]:
    return lambda one: write(one.home.folder / "jobs" / "paused.json", content)


def write(path: Path, content: str) -> None:
    path.write_text(content)


def with_many_jobs(one: Asking) -> None:
    manifest = one.home.folder / "jobs" / one.run / "manifest.cbor"
    manifest.rename(manifest.with_name("aside"))
    for number in range(MAX_WAITING):
        folder = one.home.folder / "jobs" / f"other{number}"
        folder.mkdir()
        (folder / "manifest.cbor").write_bytes(b"m")


def with_another_manifest(one: Asking) -> None:
    (one.home.folder / "jobs" / one.run / "manifest.cbor").write_bytes(b"another")


def refused_by_ann(one: Asking) -> None:
    decisions.refuse(one.home, one.run, by="ann", now=NOON)


def as_it_is(one: Asking) -> None:
    del one


BEFORE: dict[str, tuple[Callable[[Asking], None], dict[str, Any], str]] = {
    "refused by a person": (refused_by_ann, {}, "JOB_REFUSED"),
    "of a coordinator that is not allowed": (
        under_policy('coordinators = ["other"]'), {}, "COORDINATOR_NOT_ALLOWED",
    ),
    "for another purpose": (under_policy('purposes = ["other"]'), {}, "PURPOSE_NOT_ALLOWED"),
    "with another model": (under_policy('models = ["resnet"]'), {}, "MODEL_NOT_ALLOWED"),
    "of too many rounds": (under_policy("max_rounds = 3"), {}, "TOO_MANY_ROUNDS"),
    "under a policy that cannot be read": (under_policy(NEEDLE), {}, "CONFIGURATION"),
    "at a paused site": (
        with_note_of_a_pause('{"by":"ann","utc_seconds":1}'), {}, "SITE_PAUSED",
    ),
    "where the note of a pause is damaged": (with_note_of_a_pause("{"), {}, "CORRUPT_FILE"),
    "beside too many others": (with_many_jobs, {}, "TOO_MANY_JOBS_WAIT"),
    "with another manifest than before": (with_another_manifest, {}, "MANIFEST_DIFFERS"),
    "cut short": (as_it_is, {"manifest": b"\xa1"}, "MALFORMED_MESSAGE"),
    "that is text": (as_it_is, {"manifest": NEEDLE.encode()}, "MALFORMED_MESSAGE"),
    "under a foreign roster": (as_it_is, {"roster": NEEDLE.encode()}, "MALFORMED_MESSAGE"),
    "for another run than it names": (as_it_is, {"run": NEEDLE}, "UNVERIFIED_MESSAGE"),
}  # fmt: skip


@pytest.mark.parametrize(("prepare", "changes", "code"), BEFORE.values(), ids=BEFORE)
def test_a_job_is_refused_and_written_down_that_is(
    tmp_path: Path, prepare: Callable[[Asking], None], changes: dict[str, Any], code: str
) -> None:
    one = asking(tmp_path)
    one.propose()
    prepare(one)
    entry = require_written_down(one, lambda it: proposed(it, **changes), code)
    assert (entry["kind"], entry["step"]) == ("manifest.query", "accept")
    assert entry["run"] == ("" if "run" in changes else one.run)


def test_a_job_that_waits_is_written_down_once_however_often_it_is_asked_for(
    tmp_path: Path,
) -> None:
    one = asking(tmp_path)
    home = one.home.folder
    for _ in range(20):
        assert one.propose() == "WAITING_FOR_APPROVAL"
    assert [entry["code"] for entry in entries_of(home)] == ["WAITING_FOR_APPROVAL"]
    assert len(logged(home).splitlines()) == 1
    before = state_of(home)
    assert one.propose() == "WAITING_FOR_APPROVAL"
    assert state_of(home) == before


# -- of a run that was agreed to -------------------------------------------------------------------


@pytest.fixture
def changed(agreed: Asking) -> Iterator[Asking]:
    """The same site, whose policy and clock a test may change."""
    policy, site = agreed.home.policy_file.read_bytes(), open_site(agreed.home.folder)
    yield agreed
    agreed.home.policy_file.write_bytes(policy)
    site.utc_seconds = type(site).utc_seconds
    (agreed.home.folder / "jobs" / "paused.json").unlink(missing_ok=True)


def other_question(flower_type: str, message: messages.Message) -> Callable[[Asking], Answered]:
    return lambda one: one.coordinator.ask(flower_type, message, weights_of(one))


def asked_about_other_weights(one: Asking) -> Answered:
    message = messages.EvaluateWeights("test")
    return one.coordinator.ask("evaluate.final", message, weights_of(one, lambda w: w + 1))


AGREED: dict[str, tuple[Callable[[Asking], Answered], str]] = {
    "of an unknown run": (trained(subject={"run": "00" * 8}), "UNKNOWN_RUN"),
    "of a run that is a path": (trained(subject={"run": f"../{NEEDLE}"}), "CONFIGURATION"),
    "of a run that is a name": (trained(subject={"run": "NEEDLEAnna"}), "UNKNOWN_RUN"),
    "under another manifest": (
        trained(subject={"manifest_sha256": NEEDLE}), "UNVERIFIED_MESSAGE",
    ),
    "of a round that is none": (trained(number=99), "ROUND_OUT_OF_RANGE"),
    "of a round below zero": (trained(number=-(2**40)), "ROUND_OUT_OF_RANGE"),
    "with weights of another shape": (trained(weights=lambda w: w[:-1]), "WEIGHTS_MISMATCH"),
    "with weights that are no numbers": (
        trained(weights=lambda w: w * np.float32(np.nan)), "WEIGHTS_MISMATCH",
    ),
    "with weights that explode": (
        trained(weights=lambda w: np.full_like(w, 3e38)), "NON_FINITE",
    ),
    "with a body that is text": (trained(body=NEEDLE.encode()), "MALFORMED_MESSAGE"),
    "with an empty body": (trained(body=b""), "MALFORMED_MESSAGE"),
    "that tests other weights": (asked_about_other_weights, "TEST_ALREADY_USED"),
    "under another name": (
        other_question("evaluate.validation", messages.TrainRound(True)), "UNEXPECTED_KIND",
    ),
    "that is an answer": (
        other_question("train.round", messages.TrainReply(1)), "UNEXPECTED_KIND",
    ),
    "of a sum that is not masked": (
        other_question("query.mask", messages.SecureStep("mask", "train", b"")),
        "UNEXPECTED_KIND",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ask", "code"), AGREED.values(), ids=AGREED)
def test_a_message_is_refused_and_written_down_that_is(
    agreed: Asking, ask: Callable[[Asking], Answered], code: str
) -> None:
    entry = require_written_down(agreed, ask, code)
    assert set(entry) == {
        "index", "previous", "utc_seconds", "run", "round", "attempt", "kind", "purpose", "step",
        "code",
    }  # fmt: skip


def at_midnight(one: Asking) -> None:
    one.write_policy('approval = "within-policy"\nhours = "12:00-12:01"')
    site = open_site(one.home.folder)
    now = site.utc_seconds()
    site.utc_seconds = lambda: now - now % 86_400 + 60


def paused_by_ann(one: Asking) -> None:
    with_note_of_a_pause('{"by":"ann","utc_seconds":1}')(one)


STOPPED: dict[str, tuple[Callable[[Asking], None], str]] = {
    "outside its hours": (at_midnight, "OUTSIDE_HOURS"),
    "while it is paused": (paused_by_ann, "SITE_PAUSED"),
    "under a policy that cannot be read": (under_policy(NEEDLE), "CONFIGURATION"),
}


@pytest.mark.parametrize(("prepare", "code"), STOPPED.values(), ids=STOPPED)
def test_a_round_is_refused_and_written_down(
    changed: Asking, prepare: Callable[[Asking], None], code: str
) -> None:
    prepare(changed)
    entry = require_written_down(changed, trained(), code, again=True)
    assert (entry["run"], entry["purpose"], entry["step"]) == (changed.run, "train", "ready")


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (ValueError(NEEDLE), "INTERNAL_ERROR"),
        (MemoryError(NEEDLE), "INTERNAL_ERROR"),
        (DiskFullError(NEEDLE, hint=NEEDLE), "DISK_FULL"),
        (FedwardError(NEEDLE, hint=NEEDLE, code="OUT_OF_MEMORY"), "OUT_OF_MEMORY"),
    ],
)
def test_what_breaks_inside_is_written_down_by_its_code(
    agreed: Asking, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str
) -> None:
    def explode(*_: Any) -> None:
        raise raised

    monkeypatch.setattr(handlers, "answer_training", explode)
    require_written_down(agreed, trained(), code, again=True)


def test_a_run_that_was_withdrawn_or_whose_ledger_is_damaged_is_refused_and_written_down(
    tmp_path: Path,
) -> None:
    one = asking(tmp_path, *PRIVATE, jobs='approval = "within-policy"')
    assert one.propose() == one.train() == ""
    (entries,) = one.home.ledger.glob("*.jsonl")
    content = entries.read_bytes()
    entries.write_bytes(content[:-40])
    require_written_down(one, trained(number=2), "LEDGER_DAMAGED")
    entries.write_bytes(content)
    decisions.withdraw(one.home, one.run, by="ann", now=NOON)
    require_written_down(one, trained(number=2), "JOB_WITHDRAWN")
