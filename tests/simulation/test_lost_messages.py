"""Messages and answers that the link loses: asked once more, the run ends as if none had been."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message
from tests.masked_federation import MASKED, WatchedGrid, codes_of, restart_sites
from tests.simulation.test_strategies import PRIVATE, SCAFFOLD
from tests.tiny_federation import FakeClock, TinyFederation, essence

from fedward_client.daemon import site_work

SHORT = ("job.rounds=2", "quorum.required_sites=3", "quorum.attempts=1")
KINDS = {
    "open": (),
    "scaffold": SCAFFOLD,
    "private": PRIVATE,
    "masked": (MASKED,),
    "masked-private": (MASKED, *PRIVATE),
}


class LossyGrid(WatchedGrid):
    """Loses messages on their way to a site, and answers on their way back.

    Args:
        loses: Says of each message as it passes, by the number of those before it, whether it is
            lost, and whether with its answer (the site has done what it asks) or before.
    """

    poll_seconds = 0.5

    def __init__(self, federation: TinyFederation, loses: Callable[[int], str]) -> None:
        super().__init__(federation)
        self._loses = loses
        self._num_passed = 0
        self._lost: set[str] = set()
        self.lost_types: list[str] = []

    def is_lost(self, message_id: str) -> bool:
        return message_id in self._lost

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        for message_id in message_ids:
            if message_id not in self._waiting:
                continue
            message = self._waiting[message_id]
            fate = self._loses(self._num_passed)
            self._num_passed += 1
            if fate:
                self._lost.add(message_id)
                self.lost_types.append(message.metadata.message_type)
            if fate == "message":
                del self._waiting[message_id]
                continue
            replies = super().pull_messages([message_id])
            return [] if fate == "answer" else replies
        return []


def every_other(fate: str) -> Callable[[int], str]:
    return lambda number: fate if number % 2 == 0 else ""


def drawn(seed: int) -> Callable[[int], str]:
    """Lose a third of all, and never one message four times."""
    draw = np.random.default_rng(seed)
    run = 0

    def loses(number: int) -> str:
        nonlocal run
        del number
        fate = str(draw.choice(["message", "answer", "", "", ""])) if run < 3 else ""
        run = run + 1 if fate else 0
        return fate

    return loses


LOSSES = {
    "each message once": every_other("message"),
    "each answer once": every_other("answer"),
    "by chance": drawn(1),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_loses_messages_and_answers_ends_as_the_undisturbed_run(
    tiny: TinyFederation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    federation = tiny.with_job(*SHORT, *KINDS[kind])
    trained = trained_rounds(monkeypatch)
    restart_sites()
    federation.run(tmp_path / "undisturbed")
    types = {
        "query.manifest",
        "train.round",
        "evaluate.validation",
        "evaluate.final",
        "query.result",
    }
    if MASKED in KINDS[kind]:
        types |= {f"query.{step}" for step in ("share", "mask", "confirm", "unmask")}
    for number, (name, loses) in enumerate(LOSSES.items()):
        folder, clock = tmp_path / f"lossy-{number}", FakeClock()
        grid = LossyGrid(federation, loses)
        restart_sites()
        federation.run(folder, grid=grid, clock=clock)
        assert essence(folder) == essence(tmp_path / "undisturbed"), name
        assert not codes_of(folder), name
        if number < 2:
            assert set(grid.lost_types) == types
        assert clock.now < 60  # no deadline was waited out
    if kind != "open":  # which keeps no answer, and trains to the same weights
        assert set(trained.values()) == {1}
    if "private" in kind:
        charged = charged_rounds(federation)
        assert set(charged.values()) == {1}


def trained_rounds(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str, int]]:
    """Count how often each site trains each round of each run."""
    seen: Counter[tuple[str, str, int]] = Counter()
    honest = site_work._work

    def work(of, run, round_, *others):  # type: ignore[no-untyped-def]
        seen[of.site_id, run.manifest.run, round_.round_number] += 1
        return honest(of, run, round_, *others)

    monkeypatch.setattr(site_work, "_work", work)
    return seen


def charged_rounds(federation: TinyFederation) -> Counter[tuple[str, str, int]]:
    """Count how often each round of each run stands in each site's ledger."""
    seen: Counter[tuple[str, str, int]] = Counter()
    for site, home in federation.homes.items():
        for line in (home / "ledger" / "entries.jsonl").read_text().splitlines():
            entry = json.loads(line)
            if entry["kind"] == "round.begun":
                seen[site, entry["run"], entry["round"]] += 1
    return seen
