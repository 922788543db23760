"""Names of things, each with a type of its own so that one cannot be passed for another."""

import re
from collections.abc import Iterable
from typing import NewType

from fedward_common.errors import ConfigurationError

SiteId = NewType("SiteId", str)
ConsortiumId = NewType("ConsortiumId", str)
Sha256Hex = NewType("Sha256Hex", str)

COORDINATOR = SiteId("coordinator")

_SITE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}\Z")


def parse_site_id(unverified: str) -> SiteId:
    """Accept 1 to 48 ASCII letters, digits, `_` or `-`, the first a letter or digit.

    Raises:
        ConfigurationError: Any other text, or the name reserved for the coordinator.
    """
    if not _SITE_ID.match(unverified) or unverified.casefold() == COORDINATOR:
        raise ConfigurationError(
            f"site name {unverified[:60]!r} cannot be used",
            hint="1 to 48 letters, digits, '_' or '-', beginning with a letter or digit, "
            "and not 'coordinator'",
        )
    return SiteId(unverified)


def parse_site_ids(unverified: Iterable[str]) -> tuple[SiteId, ...]:
    """Accept site names of which no two are one, or differ in case alone.

    Returns:
        The names, sorted, so that every loop over sites has one order.

    Raises:
        ConfigurationError: A name is unusable, or two could be confused.
    """
    site_ids = sorted(parse_site_id(name) for name in unverified)
    by_fold: dict[str, SiteId] = {}
    for site_id in site_ids:
        other = by_fold.get(site_id.casefold())
        if other is not None:
            same = "are one" if other == site_id else "differ in case alone"
            raise ConfigurationError(
                f"site names {other!r} and {site_id!r} {same}",
                hint="rename one of them; people would confuse the two",
            )
        by_fold[site_id.casefold()] = site_id
    return tuple(site_ids)
