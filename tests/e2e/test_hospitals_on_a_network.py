"""Three hospitals with DICOM archives, a coordinator and an office, by the commands of their users.

Each daemon is a process of its own, over TLS on loopback. Nothing is called but the command lines,
and nothing is edited but `policy.toml`. One thing is laid down before: the key of each hospital's
patient split, which else is random. Patients are put in order by it, so a simulation, whose sites
share a known key, would train on the same images in another order.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.real_federation import Process
from tests.tied_process import TIE, tied_command

from fedward_client.site_home import create_site_home
from fedward_server.simulation.homes import split_key_of_simulations

SITES = ("north", "river", "south")
ROUNDS = 5
SEED = "11"
SECONDS = 240
PASSPHRASE = ("--passphrase-file", "passphrase")
EXAMPLE = "lesions.toml"
PRIVACY = '[privacy]\nmechanism = "per-site"\nepsilon = 8.0\ndelta = 1e-5\n'
POLICY = {
    "unbounded_training = false": "unbounded_training = true",
    "cpu_threads = 0": "cpu_threads = 1",
}


@dataclass
class Machine:
    """A folder with everything of everybody, and the daemons that work on it."""

    folder: Path
    started: dict[str, Process] = field(default_factory=dict)

    def run(self, main: str, *arguments: str) -> str:
        """Run a command to its end; give what it printed."""
        done = subprocess.run(
            tied_command(main, *arguments),
            stdin=TIE, cwd=self.folder, env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def fedward(self, *arguments: str) -> Any:
        return json.loads(self.run("fedward_server.cli", *arguments, "--json"))

    def coordinator(self, *arguments: str) -> Any:
        return self.fedward(*arguments, "--home", "coordinator")

    def site(self, site: str, *arguments: str) -> Any:
        home = ("--home", site, "--json")
        return json.loads(self.run("fedward_client.cli", *arguments, *home))

    def start(self, name: str, main: str, *arguments: str) -> Process:
        home = str(self.folder / name)
        command = tied_command(main, *arguments, "--home", home)
        self.started[name] = Process.start(command, self.folder / f"{name}.stderr")
        return self.started[name]

    def found(self) -> str:
        """Found the consortium and start its coordinator; give where it is."""
        passphrase = self.folder / "passphrase"
        passphrase.write_text("five words nobody would guess")
        passphrase.chmod(0o600)
        self.fedward("consortium", "init", "--home", "office", "--name", "Trial", *PASSPHRASE)
        made = self.coordinator(
            "coordinator", "init", "--host", "127.0.0.1", "--port", str(free_port()),
            "--office", "office", "--organisation", "University", *PASSPHRASE,
        )  # fmt: skip
        coordinator = self.start("coordinator", "fedward_server.cli", "coordinator", "start")
        coordinator.wait_for("ready", SECONDS)
        return str(made["address"])

    def enrol(self, address: str) -> None:
        """Let each hospital ask, admit it by the words that it read out, and let it join."""
        office = ("--home", "office")
        where = ("--address", address, "--tls-authority", "coordinator/tls/authority.pem")
        for site in SITES:
            create_site_home(self.folder / site, split_key=split_key_of_simulations())
            token = f"{site}.token"
            named = ("--organisation", f"Hospital {site}", "--out", token)
            self.fedward("consortium", "invite", site, *named, *where, *office)
            asked = self.site(
                site, "join", "--token-file", token, "--cohort", "lesions", "--no-wait"
            )
            words = ("--fingerprint", " ".join(asked["words"]))
            self.fedward("consortium", "approve", site, *words, *PASSPHRASE, *office)
        for site in SITES:
            assert self.site(site, "join")["member"]

    def register(self, site: str) -> None:
        archive = f"hospitals/hospital-{site}"
        self.site(
            site, "cohort", "add", "lesions", "--dicom", f"{archive}/dicom",
            "--labels", f"{archive}/labels.csv", "--task", EXAMPLE,
        )  # fmt: skip
        policy = self.folder / site / "policy.toml"
        text = policy.read_text()
        for before, after in POLICY.items():
            assert before in text
            text = text.replace(before, after)
        policy.write_text(text)

    def train(self, job: str, name: str) -> dict[str, Any]:
        """Launch a job, approve it at each hospital, and wait for its result."""
        launched = self.coordinator(
            "launch", job, "--sites", ",".join(SITES), "--name", name, "--seed", SEED
        )
        run: str = launched["run_id"]
        for site in SITES:
            self.wait_for_job(site, run)
            assert self.site(site, "approve", run)["cohort"] == "lesions"
        self.started["coordinator"].wait_for("run.finished", SECONDS, run=name)
        result: dict[str, Any] = self.coordinator("result", name, "--out", f"results/{name}")
        assert result["rounds_completed"] == ROUNDS
        assert (self.folder / "results" / name / "report.html").is_file()
        return result | {"run": run}

    def wait_for_job(self, site: str, run: str) -> None:
        """Ask a hospital's command, which takes a while itself, until the job waits there."""
        ends = time.monotonic() + SECONDS
        while [run, "waiting"] not in [
            [job["run"], job["state"]] for job in self.site(site, "jobs")["jobs"]
        ]:
            assert time.monotonic() < ends, f"no job came in {SECONDS} s"


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@pytest.fixture
def machine(tmp_path: Path, project_root: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    private = (project_root / "examples" / EXAMPLE).read_text()
    assert PRIVACY in private
    (tmp_path / EXAMPLE).write_text(private)
    (tmp_path / "results").mkdir()
    plain = private.replace(PRIVACY, '[privacy]\nmechanism = "none"\n')
    (tmp_path / "plain.toml").write_text(plain)
    yield made
    for process in made.started.values():
        if process.popen.poll() is None:
            process.end()
    assert [pid for process in made.started.values() for pid in process.descendants()] == []


def require_charged(machine: Machine, run: str) -> None:
    """The private run cost each patient what the job allows, and left as masked sums alone."""
    for site in SITES:
        (spent,) = machine.site(site, "ledger", "show", "lesions")["runs"]
        assert (spent["run"], spent["state"], spent["attempts_committed"]) == (
            run, "released", ROUNDS,
        )  # fmt: skip
        assert 7.9 < spent["epsilon_spent"] <= 8.0
        kinds = {line["kind"] for line in machine.site(site, "egress", run)["left"]}
        answers = {kind for kind in kinds if not kind.startswith("refusal ")}
        assert answers == {
            "manifest.reply", "secure.ready", "secure.step-reply", "result.receipt",
        }  # fmt: skip


def require_told(machine: Machine, name: str, result: dict[str, Any]) -> None:
    """Each hospital has the pooled figures that were published, and both sides can prove it."""
    assert machine.coordinator("status", name)["told"] == list(SITES)
    (proven,) = machine.coordinator("audit", "verify", name)
    assert list(proven["receipts"]) == list(SITES)
    for site in SITES:
        found = machine.site(site, "result", result["run"])
        assert found["own"]
        assert found["pooled"]["test"] == result["metrics"]
        assert found["pooled"]["thresholds"] == (result["thresholds"] or {})
        assert found["pooled"]["selected_round"] == result["selected"]["round"]
        assert machine.site(site, "audit", "verify")["results"] >= 1


def simulated(machine: Machine, job: str) -> dict[str, Any]:
    """Simulate a job on the cohorts that the hospitals registered; give its result."""
    tables = (
        f'[sites.{site}]\nsource = "registered"\npath = "{site}"\ncohort = "lesions"\n'
        for site in SITES
    )
    (machine.folder / "cohorts.toml").write_text("\n".join(tables))
    result: dict[str, Any] = machine.fedward(
        "simulate", job, "--cohorts", "cohorts.toml", "--seed", SEED, "--workers", "0",
        "--no-examples", "--out", "simulated",
    )  # fmt: skip
    return result


@pytest.mark.slow
def test_hospitals_train_over_a_network_with_privacy_and_without_as_in_a_simulation(
    machine: Machine,
) -> None:
    machine.fedward("phantom", "--hospitals", "3", "--patients", "40", "--out", "hospitals")
    machine.enrol(machine.found())
    for site in SITES:
        machine.register(site)
        machine.start(site, "fedward_client.cli", "start")

    private = machine.train(EXAMPLE, "private")
    assert (private["privacy"]["mechanism"], private["privacy"]["epsilon"]) == ("per-site", 8.0)
    assert private["privacy"]["noise_is_private"] is True
    require_charged(machine, private["run"])
    require_told(machine, "private", private)

    plain = machine.train("plain.toml", "plain")
    for site in SITES:
        runs = machine.site(site, "ledger", "show")["runs"]
        assert [one["run"] for one in runs if one["epsilon_spent"] is None] == [plain["run"]]
    require_told(machine, "plain", plain)
    for process in machine.started.values():
        assert process.end() == 0
        assert process.descendants() == []

    alone = simulated(machine, "plain.toml")
    assert plain["model_sha256"] == alone["model_sha256"]
    assert plain["metrics"] == alone["metrics"]
    for file in ("model.safetensors", "last.safetensors"):
        there, here = (
            machine.folder / out / "model" / file for out in ("results/plain", "simulated")
        )
        assert there.read_bytes() == here.read_bytes()
