"""`fedward-site` run in this process, as its own `main` does."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The error's line, which has a hint under it and no traceback."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert "Traceback" not in self.err
        assert lines[-2].startswith("error: "), self.err
        assert lines[-1].startswith("hint: "), self.err
        return lines[-2]


Site = Callable[[Sequence[str]], Ended]


@pytest.fixture
def site(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Site:
    """Run a command; whatever it prints or logs names no patient whose name begins with NEEDLE."""
    from fedward_client import cli

    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("COLUMNS", "160")

    def run(arguments: Sequence[str]) -> Ended:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["fedward-site", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        captured = capfd.readouterr()
        told = captured.out + captured.err + caplog.text
        assert "NEEDLE" not in told, "a patient's name, id or accession number was printed"
        return Ended(code, captured.out, captured.err)

    return run
