"""`fedward sites`: the roster, who is connected, and what each site answered last."""

import time
from collections.abc import Mapping
from typing import Any

from fedward_common.consortium.node_key import MAX_STATEMENT_BYTES, verify_node_key
from fedward_common.consortium.roster import Roster
from fedward_common.errors import ConfigurationError, FedwardError
from fedward_common.identities import SiteId
from fedward_server.coordinator.commands.live_coordinator import connected
from fedward_server.coordinator.commands.planned_run import present_roster
from fedward_server.coordinator.commands.run_view import RunView, views_in
from fedward_server.coordinator.commands.shown import print_json, print_line, print_table
from fedward_server.coordinator.coordinator_home import CoordinatorHome

Answer = dict[str, Any]


def run_sites(home: CoordinatorHome, *, json_output: bool) -> None:
    """Print the sites of the roster.

    Raises:
        ConfigurationError: There is no roster that counts.
    """
    roster, _ = present_roster(home, now_seconds=time.time())
    online = online_keys(home)
    answers = last_answers(list(views_in(home).values()))
    rows = [_row(home, roster, site, online, answers) for site in roster.sites]
    if json_output:
        content = {"roster_version": roster.version, "consortium": roster.consortium}
        print_json(content | {"coordinator_runs": online is not None, "sites": rows})
        return
    print_line(f"{roster.consortium}, roster version {roster.version}")
    print_table(
        ("site", "organisation", "connected", "last answer"),
        ((row["site"], row["organisation"], _connected(row), _answer_text(row)) for row in rows),
    )
    if online is None:
        print_line("No coordinator runs: fedward coordinator start")


def online_keys(home: CoordinatorHome) -> frozenset[bytes] | None:
    """Give the keys of the nodes that are connected; None where no coordinator runs."""
    try:
        with connected(home) as control:
            return control.online_nodes()
    except ConfigurationError:
        return None


def unconnected_sites(
    home: CoordinatorHome, roster: Roster, online: frozenset[bytes]
) -> list[SiteId]:
    """Give the sites of a roster whose node is not among those that are connected."""
    return [site for site in roster.sites if _stated_key(home, roster, site) not in online]


def last_answers(views: list[RunView | FedwardError]) -> Mapping[str, Answer]:
    """Give, by site, the last thing that the journals of these runs tell of it.

    Args:
        views: The run laid down last at the end; those that cannot be read tell nothing.
    """
    answers: dict[str, Answer] = {}
    for view in views:
        if isinstance(view, FedwardError):
            continue
        for entry in view.entries:
            number = entry.get("round", 0)
            for site in entry.get("accepted") or ():
                answers[site] = _answer(view, 0, "ACCEPTED")
            for site in entry.get("participants") or ():
                answers[site] = _answer(view, number, "CONTRIBUTED")
            for site in (entry.get("final") or {}).get("sites", ()):
                answers[site] = _answer(view, view.history.round, "EVALUATED")
            for failure in entry.get("failures") or ():
                answers[failure["site"]] = _answer(view, failure["round"], failure["code"])
    return answers


def _answer(view: RunView, number: int, code: str) -> Answer:
    return {"run": view.name, "round": number, "code": code}


def _row(
    home: CoordinatorHome,
    roster: Roster,
    site: SiteId,
    online: frozenset[bytes] | None,
    answers: Mapping[str, Answer],
) -> dict[str, Any]:
    key = _stated_key(home, roster, site)
    return {
        "site": site,
        "organisation": roster.entry_of(site).organisation,
        "may_connect": key is not None,
        "connected": None if online is None else key in online,
        "last_answer": answers.get(site),
    }


def _stated_key(home: CoordinatorHome, roster: Roster, site: SiteId) -> bytes | None:
    """Give the key that a site's node connects with; None where it stated none that holds."""
    try:
        with (home.nodes / f"{site}.cbor").open("rb") as file:
            stated = verify_node_key(file.read(MAX_STATEMENT_BYTES + 1), roster)
    except (OSError, FedwardError):
        return None
    return stated.public_key if stated.site == site else None


def _connected(row: Mapping[str, Any]) -> str:
    if not row["may_connect"]:
        return "no key of its node"
    return {None: "unknown", True: "yes", False: "no"}[row["connected"]]


def _answer_text(row: Mapping[str, Any]) -> str:
    answer = row["last_answer"]
    if answer is None:
        return "none yet"
    where = f"round {answer['round']} of {answer['run']}" if answer["round"] else answer["run"]
    known = {"ACCEPTED": "accepted", "CONTRIBUTED": "contributed", "EVALUATED": "evaluated"}
    return f"{known.get(answer['code'], answer['code'])}, {where}"
