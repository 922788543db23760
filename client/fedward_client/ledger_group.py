"""`fedward-site ledger [COHORT]`: a group of commands of which one may be left out."""

import click
from typer.core import TyperGroup

_LEFT_OUT = "show"
_HELP = ("-h", "--help")


class LedgerGroup(TyperGroup):
    """Takes a first word that is no command for the cohort of `show`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command in that was left out."""
        first = args[0] if args else ""
        if first not in self.commands and first not in _HELP:
            args = [_LEFT_OUT, *args]
        return super().parse_args(ctx, args)
