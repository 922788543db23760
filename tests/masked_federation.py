"""Tiny federations with secure aggregation on, and a Grid that shows a test every message."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message
from numpy.typing import NDArray
from tests.tiny_federation import SITES, TinyFederation, entries_of, history_of, make_federation

from fedward_client.daemon import site_state, site_work
from fedward_common.tensor_file import read_tensors
from fedward_common.wire.flower_records import envelope_of
from fedward_common.wire.header import decode_header
from fedward_common.wire.messages import SecureStep, decode_message
from fedward_server.simulation.in_process_grid import InTurnGrid

FAULTY_APP = "tests.faulty_site:app"
MASKED = "secure_aggregation.enabled=true"
SHORT = (MASKED, "job.rounds=2")
FIVE_SITES = (*SITES, "dogwood", "elder")

# One such site, and everybody is asked to confirm who survived.
CONFIRMING = {"alder": "query.mask/*/*=not-in-advance"}

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Passing:
    """One message to a site; `purpose` is empty unless it is a step of secure aggregation."""

    kind: str
    purpose: str
    round: int
    attempt: int
    site: str

    @property
    def place(self) -> str:
        return f"{self.kind}:{self.purpose}/{self.round}/{self.attempt}@{self.site}"


def _nothing(passing: Passing, message: Message) -> None:
    """Let it pass."""


class WatchedGrid(InTurnGrid):
    """Sites in turn; `before` sees each request as it reaches a site, `after` each answer."""

    def __init__(
        self,
        federation: TinyFederation,
        faults: Mapping[str, str] | None = None,
        *,
        before: Callable[[Passing, Message], None] = _nothing,
        after: Callable[[Passing, Message], None] = _nothing,
        in_memory: bool = False,
    ) -> None:
        super().__init__(federation.node_configs(faults, in_memory=in_memory), FAULTY_APP)
        self._sites = sorted(federation.homes)
        self._before, self._after = before, after

    def passing(self, message: Message) -> Passing:
        """Say what a request is, and whom it goes to."""
        envelope, _ = envelope_of(message.content)
        header = decode_header(envelope.header_bytes)
        asked = decode_message(header.kind, envelope.body)
        return Passing(
            message.metadata.message_type,
            asked.purpose if isinstance(asked, SecureStep) else "",
            header.round,
            header.attempt,
            self._sites[message.metadata.dst_node_id - min(self._configs)],
        )

    def _answer(self, message: Message) -> Message:
        passing = self.passing(message)
        self._before(passing, message)
        reply = super()._answer(message)
        self._after(passing, reply)
        return reply


def five_sites(folder: Path) -> TinyFederation:
    """Five hospitals, of which four must stay to the end."""
    return make_federation(folder, sites=FIVE_SITES)


def restart_sites() -> None:
    """Let every site go on in a new process."""
    site_state.forget_open_sites()


def last_weights(folder: Path) -> Vector:
    """Give the global weights after the last committed round."""
    _, name, digest = history_of(folder).checkpoints[-1]
    return read_tensors(folder / name, digest)["weights"]


def kinds_of(folder: Path) -> list[str]:
    """Give what stands in a run's journal, in order."""
    return [entry["kind"] for entry in entries_of(folder)]


def codes_of(folder: Path) -> list[tuple[str, int, str]]:
    """Give every failure of a run as site, round and code."""
    return [(f["site"], f["round"], f["code"]) for f in history_of(folder).failures]


def _update_of(vectors: Mapping[str, Any]) -> Vector:
    update: Vector = vectors["update"]
    return update


def change_update(
    monkeypatch: pytest.MonkeyPatch,
    site: str,
    change: Callable[[Vector], Vector],
    *,
    in_round: int = 1,
) -> None:
    """Let one site train something else in one round, before anything is encoded."""
    honest = site_work._work

    def work(of, run, round_, *others):  # type: ignore[no-untyped-def]
        done = honest(of, run, round_, *others)
        if of.site_id != site or round_.round_number != in_round:
            return done
        vectors = {**done.vectors, "update": change(_update_of(done.vectors))}
        return site_work._Work(done.num_steps, done.seconds_in_steps, vectors)

    monkeypatch.setattr(site_work, "_work", work)


def updates_seen(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], Vector]:
    """Remember what each site trained, by site and round, without changing anything."""
    seen: dict[tuple[str, int], Vector] = {}
    honest = site_work._work

    def work(of, run, round_, *others):  # type: ignore[no-untyped-def]
        done = honest(of, run, round_, *others)
        seen[of.site_id, round_.round_number] = _update_of(done.vectors).copy()
        return done

    monkeypatch.setattr(site_work, "_work", work)
    return seen
