"""The task loop as a process: it keeps to the site's limits, and says codes alone."""

import json
import subprocess
import sys
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity

from fedward_client.daemon.present_work import Work, present_work
from fedward_client.daemon.task_loop import TaskLoop
from fedward_client.site_home import SiteHome


def test_a_policy_that_cannot_be_kept_ends_the_process_by_its_code(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text('[limits]\n"NEEDLE^PATIENT" = 1\n')
    module = "fedward_client.daemon.task_loop"
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, "1", str(tmp_path / "secret"), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.wait(60) == 2
        assert process.stdout is not None
        assert process.stderr is not None
        said, errors = process.stdout.read(), process.stderr.read()
    line = json.loads(said)
    assert (line["event"], line["code"]) == ("tasks.refused", "CONFIGURATION")
    assert "NEEDLE" not in said + errors


def test_what_ends_the_process_is_said_without_its_text(tmp_path: Path) -> None:
    module = "fedward_client.daemon.task_loop"
    missing = tmp_path / "NEEDLE^PATIENT"  # the secret, whose absence is an error nobody expects
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, "1", str(missing), str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.wait(60) == 1
        assert process.stdout is not None
        assert process.stderr is not None
        said, errors = process.stdout.read(), process.stderr.read()
    lines = [json.loads(text) for text in said.splitlines()]
    assert (lines[-1]["event"], lines[-1]["code"]) == ("process.failed", "FileNotFoundError")
    assert "NEEDLE" not in said + errors
    assert errors == ""


def test_training_is_to_be_seen_while_the_app_is_at_it(tmp_path: Path) -> None:
    home = SiteHome(tmp_path)
    (tmp_path / "run").mkdir()
    seen: list[Work | None] = []

    def app(message: Message, context: Context) -> Message:
        del context
        seen.append(present_work(home))
        return Message(message.content, reply_to=message)

    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
    message = Message(RecordDict(), 1, "train.round", group_id="1")
    message.metadata.__dict__["_message_id"] = "m"
    loop = TaskLoop(1, b"s" * 32, tmp_path, app, lambda event, **fields: None)
    context = Context(1, 1, {}, RecordDict(), {})
    assert loop._reply_to(message, context)[1] == ""
    assert [work.what for work in seen if work] == ["training"]
    assert present_work(home) is None
