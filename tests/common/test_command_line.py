import sys
from collections.abc import Callable
from importlib.metadata import version

import pytest
import typer

from fedward_common.command_line import CommandLine
from fedward_common.errors import CohortError, ConfigurationError


def ended(
    raised: BaseException, capsys: pytest.CaptureFixture[str], *, debug: bool = False
) -> tuple[int | str | None, str]:
    line = CommandLine(raising(raised))
    line.debug = debug
    with pytest.raises(SystemExit) as exit_:
        line.run()
    return exit_.value.code, capsys.readouterr().err


def raising(error: BaseException) -> Callable[[], object]:
    def app() -> None:
        raise error

    return app


def test_an_error_is_one_line_and_a_hint_with_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert ended(ConfigurationError("no such key", hint="look"), capsys) == (
        2,
        "error: no such key\nhint: look\n",
    )
    assert ended(CohortError("empty"), capsys) == (1, "error: empty\n")


def test_a_code_that_the_documentation_lists_stands_in_the_line_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    full = CohortError("the cache is full", code="E_CACHE_FULL")
    assert ended(full, capsys)[1] == "error: the cache is full (E_CACHE_FULL)\n"
    named = CohortError("limits: E_COHORT_EMPTY", code="E_COHORT_EMPTY")
    assert ended(named, capsys)[1] == "error: limits: E_COHORT_EMPTY\n"


@pytest.mark.parametrize("program", ["fedward", "fedward-site"])
def test_every_program_has_the_options_debug_and_version(
    program: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()

    @app.command()
    def work() -> None:
        raise ConfigurationError("no such key")

    line = CommandLine.with_options(app, program)
    monkeypatch.setattr(sys, "argv", [program, "--version"])
    with pytest.raises(SystemExit) as exit_:
        line.run()
    assert not exit_.value.code
    assert capsys.readouterr().out == f"{program} {version('fedward')}\n"
    monkeypatch.setattr(sys, "argv", [program, "--debug", "work"])
    with pytest.raises(ConfigurationError):
        line.run()


def test_what_the_system_says_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = ended(PermissionError(13, "Permission denied", "a/b"), capsys)
    assert (code, told.splitlines()[0]) == (1, "error: a/b: Permission denied")


def test_a_text_that_cannot_be_decoded_is_not_quoted(capsys: pytest.CaptureFixture[str]) -> None:
    code, told = ended(UnicodeDecodeError("utf-8", b"SECRET", 0, 1, "invalid"), capsys)
    assert code == 1
    assert "SECRET" not in told


def test_an_interrupt_ends_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt(), capsys)[0] == 130


def test_with_debug_the_error_itself_comes_out() -> None:
    line = CommandLine(raising(ConfigurationError("x")))
    line.debug = True
    with pytest.raises(ConfigurationError):
        line.run()


def test_a_command_that_ends_well_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    CommandLine(lambda: sys.stdout.write("done")).run()
    assert capsys.readouterr() == ("done", "")


def test_an_error_never_moves_the_cursor_or_forges_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "scan\x1b[2J\u202e\nerror: all is well"
    with pytest.raises(SystemExit):
        CommandLine(raising(ConfigurationError(f"{name} is missing", hint=name))).run()
    said = capsys.readouterr().err
    assert said.count("\n") == 2
    assert "\\x1b[2J\\u202e\\nerror" in said
