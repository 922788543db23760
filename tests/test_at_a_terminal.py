"""What a shell of a test began never outlives the test."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.at_a_terminal import shell_at_terminal
from tests.real_federation import processes_of_session

_DAEMONS = "for _ in 1 2; do sleep 600 > /dev/null & done; echo begun; wait"
_OTHER_TEST = """
import sys
from pathlib import Path
from tests.at_a_terminal import shell_at_terminal
with shell_at_terminal([sys.argv[1]], Path("."), {}) as shell:
    print(shell.popen.pid, flush=True)
    shell.follow({}, 600)
"""


def wait_for(session: int, *, count: int, seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while len(processes_of_session(session)) != count:
        assert time.monotonic() < ends, processes_of_session(session)


def test_questions_are_answered_at_the_terminal_each_time_they_come(tmp_path: Path) -> None:
    script = ['read -p "Name: " name', 'read -p "Name: " other', 'echo "<$name><$other>"; exit 3']
    with shell_at_terminal(script, tmp_path, {}) as shell:
        assert shell.follow({"Name: ": "alder"}, 30) == 3
    assert "<alder><alder>" in shell.said


def test_daemons_end_with_a_test_that_fails(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="not done"):  # noqa: SIM117
        with shell_at_terminal([_DAEMONS], tmp_path, {}) as shell:
            wait_for(shell.popen.pid, count=3)
            shell.follow({}, 0)
    assert processes_of_session(shell.popen.pid) == []


def test_daemons_end_with_a_test_that_is_killed(project_root: Path) -> None:
    command = [sys.executable, "-c", _OTHER_TEST, _DAEMONS]
    other = subprocess.Popen(command, cwd=project_root, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    session = int(other.stdout.readline())
    wait_for(session, count=3)
    other.kill()
    other.wait(timeout=20)
    wait_for(session, count=0)
    other.stdout.close()
