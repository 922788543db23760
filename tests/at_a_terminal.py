"""A shell at a terminal, as a person has one: what asks a question there gets its answer typed.

Everything that the shell began is in one session. It ends with the test: by a signal where the test
goes on, and by the hang-up of the terminal where the test was killed.
"""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.real_federation import processes_of_session

# A session's first process must ask for its terminal itself, and under nohup hang-ups are ignored.
_AT_TERMINAL = (
    "import fcntl, os, signal, sys, termios\n"
    "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


@dataclass
class Shell:
    """A shell that runs, and the terminal in front of it.

    Attributes:
        said: Everything that the terminal showed.
    """

    popen: "subprocess.Popen[bytes]"
    terminal: int
    said: str = ""
    _answered: int = field(default=0)

    def follow(self, answers: Mapping[str, str], seconds: float) -> int:
        """Answer each question by the words that it ends with; give the shell's status."""
        ends = time.monotonic() + seconds
        while self.popen.poll() is None:
            assert time.monotonic() < ends, f"not done in {seconds} s:\n{self.said[-4000:]}"
            self._read(1.0)
            for question, answer in answers.items():
                if question in self.said[self._answered :]:
                    self._answered = len(self.said)
                    os.write(self.terminal, f"{answer}\n".encode())
        while self._read(0.0):
            pass
        return int(self.popen.wait())

    def _read(self, wait_seconds: float) -> bool:
        watched = select.poll()  # `select` knows no file beyond the 1,024th
        watched.register(self.terminal, select.POLLIN)
        if not watched.poll(1000 * wait_seconds):
            return False
        try:
            content = os.read(self.terminal, 1 << 16)
        except OSError:  # nobody has the terminal open any more
            content = b""
        self.said += content.decode("utf-8", errors="replace")
        return bool(content)

    def left(self, seconds: float) -> list[int]:
        """Give what it began and what still lives after so many seconds."""
        ends = time.monotonic() + seconds
        while (pids := processes_of_session(self.popen.pid)) and time.monotonic() < ends:
            self._read(0.2)
        return pids


@contextlib.contextmanager
def shell_at_terminal(
    script: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[Shell]:
    """Run lines in bash; whatever is left of it ends with the block."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", _AT_TERMINAL, "bash", "-euo", "pipefail", "-c"]
    popen = subprocess.Popen(
        [*command, "\n".join(script)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=os.environ | environment,
        start_new_session=True,
    )
    os.close(theirs)
    shell = Shell(popen, ours)
    try:
        yield shell
    finally:
        for number, seconds in ((signal.SIGTERM, 40.0), (signal.SIGKILL, 10.0)):
            for pid in processes_of_session(popen.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if not shell.left(seconds):
                break
        popen.wait(timeout=10)
        os.close(ours)
