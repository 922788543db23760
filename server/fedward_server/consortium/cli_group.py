"""`fedward consortium ...`: the commands of the person who runs the office."""

from pathlib import Path
from typing import Annotated

import typer

consortium_app = typer.Typer(
    help="Run a consortium's office: who is invited, certified and removed.\n\n"
    "The authority's key is encrypted and used by these commands alone; a coordinator needs "
    "neither the key nor this folder.",
    epilog='Begin: fedward consortium init --home office --name "Lung network"',
    no_args_is_help=True,
)

HomeOption = Annotated[
    Path,
    typer.Option(
        "--home",
        envvar="FEDWARD_CONSORTIUM_HOME",
        show_default=False,
        help="Folder of the office.",
    ),
]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="One line, readable by its owner alone.  [default: ask]",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]
RequestOption = Annotated[
    Path | None,
    typer.Option(
        "--request", metavar="FILE", help="What the site sent.  [default: what came online]"
    ),
]
AnswerOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write the answer to the site here.")
]


@consortium_app.command(
    epilog='Example: fedward consortium init --home office --name "Lung network"'
)
def init(
    home: HomeOption,
    name: Annotated[str, typer.Option(prompt="Name of the consortium", help="One line.")],
    passphrase_file: PassphraseOption = None,
    certificate_days: Annotated[
        int, typer.Option(min=3, max=398, help="For which a member's certificate counts.")
    ] = 90,
    roster_days: Annotated[
        int, typer.Option(min=1, max=398, help="For which a version of the roster counts.")
    ] = 30,
    json_: JsonOption = False,
) -> None:
    """Make a consortium and its authority."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.consortium.office_command import run_init

    desk = desk_at(home, passphrase_file, json=json_)
    run_init(desk, name, certificate_days=certificate_days, roster_days=roster_days)


@consortium_app.command(
    epilog='Example: fedward consortium invite north --organisation "North Hospital" '
    "--home office --out north.token"
)
def invite(
    home: HomeOption,
    organisation: Annotated[str, typer.Option(help="The legal body it belongs to.")],
    site: Annotated[
        str | None, typer.Argument(help="The site's name; none with --coordinator.")
    ] = None,
    coordinator: Annotated[
        bool, typer.Option("--coordinator", help="Invite the coordinator instead of a site.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=90, help="For which the token counts.")] = 7,
    address: Annotated[
        str,
        typer.Option(
            metavar="https://HOST:PORT",
            help="Where a site asks online; none with files.",
            envvar="FEDWARD_COORDINATOR_ADDRESS",
        ),
    ] = "",
    tls_authority: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.pem",
            help="Certificate that vouches for the TLS of that address; travels in the token.",
            envvar="FEDWARD_COORDINATOR_TLS_AUTHORITY",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the token here, mode 0600, instead of showing it."),
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Give out a token with which one site may ask for a certificate, once."""
    from fedward_server.consortium.admission_command import run_invite
    from fedward_server.consortium.desk import desk_at

    run_invite(
        desk_at(home, json=json_),
        site,
        organisation=organisation,
        is_coordinator=coordinator,
        days=days,
        address=address,
        tls_authority=tls_authority,
        out=out,
    )


@consortium_app.command(
    epilog="Example: fedward consortium approve north --request request.cbor --out north.answer "
    "--home office"
)
def approve(
    home: HomeOption,
    sites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SITE]...", help="Who is to be admitted, or 'coordinator'.", show_default=False
        ),
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Everybody whose request came online; asks for each.")
    ] = False,
    request: RequestOption = None,
    out: AnswerOption = None,
    fingerprint: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="The eight words that the one hospital read out.  [default: ask]",
        ),
    ] = None,
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Compare the fingerprint words with the hospital, certify its key, issue the next roster."""
    from fedward_server.consortium.admission_command import run_approve, run_approve_waiting
    from fedward_server.consortium.desk import desk_at

    named = list(dict.fromkeys(sites or []))
    if bool(named) == all_:
        raise typer.BadParameter("name whom to admit, or give --all")
    desk = desk_at(home, passphrase_file, json=json_)
    if len(named) == 1:
        run_approve(desk, named[0], request_file=request, out=out, fingerprint=fingerprint)
        return
    if (request, out, fingerprint) != (None, None, None):
        raise typer.BadParameter("--request, --out and --fingerprint are for one site")
    run_approve_waiting(desk, None if all_ else named)


@consortium_app.command(
    epilog="Example: fedward consortium renew north --request renewal.cbor --out north.answer "
    "--home office"
)
def renew(
    home: HomeOption,
    site: Annotated[
        str | None, typer.Argument(help="Whose.  [default: all whose request came online]")
    ] = None,
    request: RequestOption = None,
    out: AnswerOption = None,
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Give members their next certificate for the same key. No change of the roster."""
    from fedward_server.consortium.admission_command import run_renew
    from fedward_server.consortium.desk import desk_at

    run_renew(desk_at(home, passphrase_file, json=json_), site, request_file=request, out=out)


@consortium_app.command(epilog="Example: fedward consortium revoke north --home office")
def revoke(
    site: Annotated[str, typer.Argument(help="Who is removed, or whose invitation is withdrawn.")],
    home: HomeOption,
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Remove a site: the next roster, issued at once, is without it."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.consortium.office_command import run_revoke

    run_revoke(desk_at(home, passphrase_file, json=json_), site)


@consortium_app.command(epilog="Example: fedward consortium roster --home office --out roster.cbor")
def roster(
    home: HomeOption,
    out: Annotated[Path | None, typer.Option(help="Write the signed roster here.")] = None,
    coordinator_home: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Hand roster and nodes' keys to a coordinator on this machine."
        ),
    ] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Issue the next version for the present members.")
    ] = False,
    above: Annotated[
        int,
        typer.Option(
            min=0, help="With --refresh, after a restore: a version that a site has seen."
        ),
    ] = 0,
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Show members, invitations and the roster's age; export the roster or issue it anew."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.consortium.office_command import run_roster

    run_roster(
        desk_at(home, passphrase_file, json=json_),
        out=out,
        coordinator_home=coordinator_home,
        refresh=refresh,
        above=above,
    )


@consortium_app.command(
    epilog="Example: fedward consortium backup --home office --out office.backup"
)
def backup(
    home: HomeOption,
    out: Annotated[Path, typer.Option(help="The file; mode 0600.")],
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Write the whole office, encrypted under the same passphrase, into one file."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.consortium.office_command import run_backup

    run_backup(desk_at(home, passphrase_file, json=json_), out)


@consortium_app.command(
    epilog="Example: fedward consortium restore office.backup --home new-office"
)
def restore(
    file: Annotated[Path, typer.Argument(help="What `backup` wrote.")],
    home: HomeOption,
    passphrase_file: PassphraseOption = None,
    json_: JsonOption = False,
) -> None:
    """Make an office of a backup, in a folder that has none."""
    from fedward_server.consortium.desk import desk_at
    from fedward_server.consortium.office_command import run_restore

    run_restore(desk_at(home, passphrase_file, json=json_), file)
