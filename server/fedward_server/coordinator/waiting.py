"""How long a run waits for sites that are away or paused, and whom it waits for.

Who is waited for stands in `waiting.json` of the run's folder, so that `fedward watch` and `status`
can say it while nothing of it is in the journal yet.
"""

import contextlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from fedward_common.atomic_files import write_atomically
from fedward_common.identities import SiteId

NOT_ANSWERED = "NOT_ANSWERED"

_WAITING = "waiting.json"

TellWaiting = Callable[[Mapping[SiteId, str]], None]


@dataclass(frozen=True)
class Patience:
    """When sites that are away or paused are no longer waited for.

    Attributes:
        after_seconds: Before that, everybody is.
        is_enough: Says whether these sites, which are there, can do without the others.
        tell: Told who is waited for, each with a code, whenever that changes; nobody at the end.
    """

    after_seconds: float
    is_enough: Callable[[Collection[SiteId]], bool]
    tell: TellWaiting


def teller_of(run_folder: Path, note: Callable[[str], None]) -> TellWaiting:
    """Give what makes known whom one wait is for.

    Args:
        run_folder: Where others can see it.
        note: Tells a person, once a site and code: a node that comes and goes is no news.
    """
    noted: set[tuple[SiteId, str]] = set()

    def tell(sites: Mapping[SiteId, str]) -> None:
        tell_waiting(run_folder, sites)
        if sites.items() - noted:
            noted.update(sites.items())
            note(f"waiting for {words_of(sites)}")

    return tell


def tell_waiting(run_folder: Path, sites: Mapping[SiteId, str]) -> None:
    """Let others see who is waited for; of nobody there is no file."""
    file = run_folder / _WAITING
    if sites:
        write_atomically(file, json.dumps(sites, sort_keys=True).encode())
    else:
        file.unlink(missing_ok=True)


def waited_for(run_folder: Path) -> dict[SiteId, str]:
    """Give who is waited for, each with a code; after a kill it may be who was waited for then."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        content = json.loads((run_folder / _WAITING).read_bytes())
        return {SiteId(str(site)): str(code) for site, code in content.items()}
    return {}


def words_of(sites: Mapping[SiteId, str]) -> str:
    """Give sites and their codes as words."""
    return ", ".join(f"{site} ({code})" for site, code in sorted(sites.items()))
