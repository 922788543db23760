"""`fedward-site join | renew | leave | roster`: added to the command line of a hospital."""

from pathlib import Path
from typing import Annotated

import typer

from fedward_client.command_options import HomeOption, JsonOption

AnswerOption = Annotated[
    Path | None, typer.Option("--answer", metavar="FILE", help="What the office sent back.")
]


def add_enrolment_commands(app: typer.Typer) -> None:
    """Add the commands of a membership."""
    app.command(
        epilog="Example: fedward-site join --token-file north.token --home site, "
        "later: fedward-site join --answer north.answer --home site"
    )(join)
    app.command(epilog="Example: fedward-site renew --home site")(renew)
    app.command(epilog="Example: fedward-site leave --home site")(leave)
    app.command(epilog="Example: fedward-site roster --home site --accept 7")(roster)


def join(
    home: HomeOption,
    token: Annotated[
        str | None, typer.Argument(help="What the office gave.", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same in a file, unseen by others.")
    ] = None,
    answer: AnswerOption = None,
    cohort: Annotated[str, typer.Option(help="Name of the cohort that the site offers.")] = "main",
    wait: Annotated[
        bool,
        typer.Option(
            help="Online: wait until the office has decided. By files this means nothing."
        ),
    ] = True,
    json_: JsonOption = False,
) -> None:
    """Join a consortium: ask with the office's token, then take its answer.

    Where the token has the coordinator's address, the request travels by itself. With neither token
    nor answer, the request that was made is shown, or sent, again.
    """
    from fedward_client.enrolment.command import run_join

    run_join(
        home,
        token=token,
        token_file=token_file,
        answer=answer,
        cohort=cohort,
        waits=wait,
        json_output=json_,
    )


def renew(home: HomeOption, answer: AnswerOption = None, json_: JsonOption = False) -> None:
    """Ask for the next certificate by a file; then again with the office's --answer."""
    from fedward_client.enrolment.command import run_renew

    run_renew(home, answer=answer, json_output=json_)


def leave(
    home: HomeOption,
    yes: Annotated[bool, typer.Option("--yes", help="It is meant.")] = False,
    json_: JsonOption = False,
) -> None:
    """End the membership: keys and certificate go, ledger and audit log stay."""
    from fedward_client.enrolment.command import run_leave

    run_leave(home, yes=yes, json_output=json_)


def roster(
    home: HomeOption,
    accept: Annotated[
        int | None,
        typer.Option(min=1, metavar="VERSION", help="Take part with the members who wait."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Show with whom this site takes part, and who waits for its word."""
    from fedward_client.enrolment.command import run_roster

    run_roster(home, accept=accept, json_output=json_)
