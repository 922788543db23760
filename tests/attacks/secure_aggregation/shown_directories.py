"""Directories that a coordinator may show to a site, and keys of its own to put into them."""

from collections.abc import Callable

from tests.secagg_federation import Federation, SeededEntropy

from fedward_common.crypto.key_agreement import HybridPrivateKey
from fedward_common.identities import SiteId
from fedward_common.secagg.messages import RoundKeys, ShareRequest, Signed, decode, encode

Entries = list[Signed]


def entries_of(federation: Federation) -> Entries:
    """The honest directory."""
    return [decode(Signed, federation.keys[site]) for site in sorted(federation.keys)]


def shown(federation: Federation, site: SiteId, entries: Entries) -> Callable[[], bytes]:
    """Show a site this directory."""
    request = encode(ShareRequest(tuple(entries)))
    return lambda: federation.share_one(site, request)


def keys_of_attacker() -> dict[str, bytes]:
    """Keys whose private halves the coordinator has."""
    entropy = SeededEntropy("attacker")
    seal, mask = HybridPrivateKey.generate(entropy), HybridPrivateKey.generate(entropy)
    return {"seal_key": seal.public.to_bytes(), "mask_key": mask.public.to_bytes()}


def name_in(entry: Signed) -> str:
    return decode(RoundKeys, entry.body).site
