"""How every command line of Fedward begins and ends.

An error is one line with a hint under it; a code that a page of the documentation explains (`E_`)
stands in that line. No traceback is shown unless `--debug` asked for one.
"""

import io
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from fedward_common.errors import FedwardError

STOPPED = 130


class CommandLine:
    """One command of the console.

    Args:
        app: Reads `sys.argv` and runs the command that it names.
    """

    def __init__(self, app: Callable[[], object]) -> None:
        self._app = app
        self.debug = False

    @classmethod
    def with_options(cls, app: typer.Typer, program: str) -> "CommandLine":
        """Give an app's command line, with the options `--debug` and `--version` before all else.

        Args:
            app: Has no callback of its own.
            program: The command's name, which `--version` shows.
        """
        line = cls(app)

        def show_version(value: bool) -> None:
            if value:
                typer.echo(f"{program} {version('fedward')}")
                raise typer.Exit

        @app.callback()
        def options(
            debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
            _version: Annotated[
                bool,
                typer.Option(
                    "--version", callback=show_version, is_eager=True, help="Show the version."
                ),
            ] = False,
        ) -> None:
            line.debug = debug

        return line

    def run(self) -> None:
        """Run the command; whatever goes wrong is one line, a hint and an exit code."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # for a terminal without a letter
        try:
            self._app()
        except FedwardError as error:
            self._end(error, _message_of(error), error.hint, error.exit_code)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            hint = "check that path and its permissions"
            self._end(error, f"{place}{error.strerror or error}", hint, 1)
        except UnicodeError as error:
            self._end(error, _words_of(error), "a file or path is not UTF-8; set LC_ALL=C.UTF-8", 1)
        except KeyboardInterrupt as interrupt:
            self._end(interrupt, "stopped", "nothing was begun", STOPPED)

    def _end(self, error: BaseException, message: str, hint: str, exit_code: int) -> NoReturn:
        if self.debug:
            raise error
        sys.stdout.flush()
        lines = f"error: {printable(message)}\n" + (f"hint: {printable(hint)}\n" if hint else "")
        sys.stderr.write(lines)
        sys.exit(exit_code)


def _message_of(error: FedwardError) -> str:
    is_listed = error.code.startswith("E_") and error.code not in str(error)
    return f"{error} ({error.code})" if is_listed else str(error)


def printable(text: str) -> str:
    """Write control and formatting characters as escapes: a file's name may hold a terminal's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _words_of(error: UnicodeError) -> str:
    if isinstance(error, UnicodeDecodeError | UnicodeEncodeError):
        return f"text cannot be read or written: {error.reason}"  # its own words quote the text
    return str(error)
