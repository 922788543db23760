"""A real site, asked for a job as the coordinator does; its policy is the one that a test gives."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.client.daemon.asked_site import SITE, Answered, Coordinator
from tests.tiny_federation import make_federation, tiny_job

from fedward_client.daemon import site_state
from fedward_client.site_home import SiteHome
from fedward_common.wire import messages

NOON = 1_700_049_600.0  # 2023-11-15 12:00 UTC
PRIVATE = ("privacy.mechanism=per-site", "privacy.epsilon=4.0", "privacy.delta=1e-4")
_POLICY = """[privacy]
unbounded_training = true
epsilon_per_job = 5.0
epsilon_total = 50.0
delta_total = 1e-3
[secure_aggregation]
required = false
minimum_organisations = 1
minimum_share = 0.0
"""


@dataclass
class Asking:
    """One coordinator and the home that it asks."""

    coordinator: Coordinator

    @property
    def home(self) -> SiteHome:
        return SiteHome(self.coordinator.federation.homes[SITE])

    @property
    def run(self) -> str:
        return self.coordinator.setup.manifest.run

    def code(self, answered: Answered) -> str:
        """Give the code of a refusal; empty for an answer."""
        message = answered.message
        return message.code if isinstance(message, messages.Refusal) else answered.error

    def propose(self) -> str:
        return self.code(self.coordinator.propose())

    def train(self, number: int = 1) -> str:
        subject = self.coordinator.subject(number)
        return self.code(self.coordinator.train(subject=subject))

    def evaluate_finally(self) -> str:
        weights: Any = {messages.WEIGHTS: self.coordinator.weights}
        message = messages.EvaluateWeights("test")
        subject = self.coordinator.subject(4)
        return self.code(self.coordinator.ask("evaluate.final", message, weights, subject=subject))

    def write_policy(self, jobs: str) -> None:
        self.home.policy_file.write_text(f"[jobs]\n{jobs}\n{_POLICY}")

    def other_run(self, folder: Path, *overrides: str) -> "Asking":
        """Give another run at the same site."""
        federation = self.coordinator.federation.with_job(*overrides)
        setup = federation.set_up(folder)
        return Asking(Coordinator(federation, setup, setup.key))


def asking(folder: Path, *overrides: str, jobs: str = "", simulated: bool = False) -> Asking:
    """Make a federation whose site SITE is a real one, with these lines of `[jobs]`."""
    federation = make_federation(folder / "federation", tiny_job(overrides=overrides))
    federation = dataclasses.replace(federation, seals_answers=True)
    if not simulated:
        settings = federation.homes[SITE] / "site.toml"
        settings.write_text(settings.read_text().replace("simulated = true\n", ""))
    site_state.forget_open_sites()
    setup = federation.set_up(folder / "run")
    asked = Asking(Coordinator(federation, setup, setup.key))
    asked.write_policy(jobs)
    return asked
