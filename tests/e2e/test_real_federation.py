"""A coordinator and three sites as processes of their own, over TLS on loopback.

Every run here must end with the weights of the same job and seed in one process, bit for bit.
"""

import dataclasses
import datetime
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.real_federation import Process, RealFederation, make_real_federation, write_tls
from tests.tiny_federation import SITES, essence

from fedward_common.file_lock import held_lock
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import read_loopback_access

DEADLINE = "quorum.deadline_seconds=100"
SECURE = ["job.rounds=2", "secure_aggregation.enabled=true", DEADLINE]
OPEN = ["job.rounds=3", "evaluation.every=3", DEADLINE]
RUN = "first"
RUN_SECONDS = 150


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    yield federation
    assert federation.close() == []


def expected(real: RealFederation, overrides: list[str]) -> object:
    """Lay the run down in the coordinator's home, and give what it must come to."""
    real.tiny = real.tiny.with_job(*overrides)
    real.tiny.run(real.folder / "simulated")
    real.tiny.set_up(real.coordinator_home.runs / RUN)
    return essence(real.folder / "simulated")


def outcome(real: RealFederation) -> object:
    return essence(real.coordinator_home.runs / RUN)


def require_all_end(*processes: Process) -> None:
    for process in processes:
        assert process.end() == 0
        assert process.descendants() == []


@pytest.mark.slow
def test_a_real_federation_ends_with_the_weights_of_the_simulation(real: RealFederation) -> None:
    simulated = expected(real, SECURE)
    coordinator = real.start_coordinator()
    sites = [real.start_site(site) for site in SITES]
    coordinator.wait_for("run.finished", RUN_SECONDS, run=RUN)
    assert outcome(real) == simulated
    require_all_end(*sites, coordinator)


@pytest.mark.slow
def test_a_run_begins_once_somebody_at_the_hospital_approved_it(real: RealFederation) -> None:
    simulated = expected(real, [*SECURE, "quorum.required_sites=3"])
    real.ask_before_jobs(SITES[0])
    coordinator = real.start_coordinator()
    sites = [real.start_site(site) for site in SITES]
    run = waiting_job(real, SITES[0])
    shown = real.site_tells(SITES[0], "show", run[:8])
    assert shown["forbidden"] is None
    assert shown["words"]["leaves"].startswith("Updates and sums")
    real.site_tells(SITES[0], "approve", run, "--cohort", "main")
    coordinator.wait_for("run.finished", RUN_SECONDS, run=RUN)
    assert outcome(real) == simulated
    assert real.site_tells(SITES[0], "result", run)["own"]
    assert real.site_tells(SITES[0], "status")["daemon_runs"]
    kinds = {line["kind"] for line in real.site_tells(SITES[0], "egress", run)["left"]}
    assert {"refusal WAITING_FOR_APPROVAL", "manifest.reply", "secure.ready"} <= kinds
    written = real.site_tells(SITES[0], "audit", "show", "--run", run)["entries"]
    assert [one["decision"] for one in written if "decision" in one] == ["approved"]
    assert {one["code"] for one in written if "code" in one} == {"WAITING_FOR_APPROVAL"}
    require_all_end(*sites, coordinator)


def waiting_job(real: RealFederation, site: str, seconds: float = RUN_SECONDS) -> str:
    """Give the run that a site was asked for, once it was."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        jobs = real.site_tells(site, "jobs")["jobs"]
        waiting: list[str] = [job["run"] for job in jobs if job["state"] == "waiting"]
        if waiting:
            return waiting[0]
        time.sleep(0.5)
    raise AssertionError(f"no job came in {seconds} s")


@pytest.mark.slow
def test_a_run_goes_on_after_kills_and_without_flowers_database(real: RealFederation) -> None:
    # A hospital that is no simulation sends no open answer in clear.
    real.tiny = dataclasses.replace(real.tiny, seals_answers=True)
    simulated = expected(real, OPEN)
    real.make_hospital(SITES[0])
    coordinator = real.start_coordinator()
    killed, *others = [real.start_site(site) for site in SITES]
    coordinator.wait_for("round.committed", RUN_SECONDS, round=1)

    coordinator.kill()
    coordinator = real.start_coordinator()
    coordinator.wait_for("round.committed", RUN_SECONDS, round=2)

    coordinator.kill()
    killed.kill()
    for file in real.coordinator_home.flower.glob("superlink.sqlite*"):
        file.unlink()
    wait_until_gone(killed)
    asked_again = num_asked_again(real, SITES[0])
    assert asked_again >= 1

    coordinator = real.start_coordinator()
    assert [line["event"] for line in coordinator.lines[:1]] == ["database.rebuilt"]
    others.append(real.start_site(SITES[0]))
    coordinator.wait_for("run.finished", RUN_SECONDS, run=RUN)
    assert outcome(real) == simulated
    assert num_asked_again(real, SITES[0]) > asked_again  # which another process answered
    require_all_end(*others, coordinator)


def num_asked_again(real: RealFederation, site: str) -> int:
    """Give how often a site noted that it was asked for the run in the words of before (F28)."""
    written = [one for one in real.site_tells(site, "audit", "show")["entries"] if "code" in one]
    assert {one["code"] for one in written} <= {"REPLAY"}
    return sum(one.get("times", 1) for one in written if one["kind"] == "manifest.query")


def wait_until_gone(process: Process, seconds: float = 20) -> None:
    """A site's children end with its daemon, however that ended."""
    ends = time.monotonic() + seconds
    while process.descendants():
        assert time.monotonic() < ends, "children outlive the daemon"
        time.sleep(0.05)


@pytest.mark.slow
def test_the_public_listener_speaks_tls_1_3_and_carries_what_sites_need(
    real: RealFederation,
) -> None:
    coordinator = real.start_coordinator()
    context = ssl.create_default_context(cafile=real.tls / "authority.pem")
    with httpx.Client(base_url=f"https://127.0.0.1:{real.port}", verify=context) as public:
        assert public.get("/health").status_code == 200
        assert public.post("/v1/fleet/pull-messages").status_code in (400, 401, 415)
        for path in (
            "/v1/control/list-nodes",
            "/v1/runtime/acquire-task",
            "/docs",
        ):
            assert public.post(path).status_code == 404
        strangers = public.post("/v1/enrolment", content=b"who is there?")
        assert b"MALFORMED_MESSAGE" in strangers.content
        assert public.post("/v1/enrolment", content=bytes(1 << 17)).status_code == 413
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with httpx.Client(verify=context) as old, pytest.raises(httpx.ConnectError):
        old.get(f"https://127.0.0.1:{real.port}/health")

    access = read_loopback_access(real.coordinator_home.loopback_file)
    with httpx.Client(base_url=f"http://127.0.0.1:{access.port}") as loopback:
        headers = {"content-type": "application/x-protobuf"}
        assert loopback.post("/v1/control/list-nodes", headers=headers).status_code == 401
        assert loopback.post("/v1/fleet/pull-messages", headers=headers).status_code == 404
    assert len(FlowerControl(access).nodes()) == len(SITES)

    second = real.run_coordinator()
    assert second.returncode == 1
    assert "another coordinator works on" in second.stderr
    require_all_end(coordinator)
    assert not real.coordinator_home.loopback_file.exists()


@pytest.mark.slow
def test_a_site_connects_to_no_coordinator_of_another_authority(real: RealFederation) -> None:
    coordinator = real.start_coordinator()
    write_tls(real.tls, datetime.datetime.now(datetime.UTC))  # the site is given this one
    site = real.start_site(SITES[0])
    site.wait_for("node.refused", 60, code="CERT_UNTRUSTED")
    ended = site.wait_for("child.ended", 30, child="node")
    assert ended["again_in"] <= 1
    site.wait_for("child.started", 30, child="node")
    require_all_end(site, coordinator)


def test_a_damaged_database_stops_the_coordinator_with_its_path(real: RealFederation) -> None:
    real.write_coordinator_settings()
    database = real.coordinator_home.database
    database.write_bytes(b"\x17" * 9000)
    ended = real.run_coordinator()
    assert ended.returncode == 1
    assert str(database) in ended.stderr
    assert "hint: move it away" in ended.stderr
    assert database.read_bytes() == b"\x17" * 9000


def test_an_expired_certificate_stops_the_coordinator(real: RealFederation) -> None:
    real.write_coordinator_settings()
    write_tls(real.tls, datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    ended = real.run_coordinator()
    assert ended.returncode == 2
    assert "out of its time" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_stops_the_coordinator(real: RealFederation) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        real.port = taken.getsockname()[1]
        real.write_coordinator_settings()
        ended = real.run_coordinator()
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{real.port}" in ended.stderr


def test_a_site_without_a_coordinator_does_not_start(real: RealFederation) -> None:
    ended = real.run_site(SITES[0])
    assert ended.returncode == 2
    assert "coordinator_address" in ended.stderr


def test_a_second_daemon_on_one_home_is_refused(real: RealFederation) -> None:
    real.port = 1
    home = real.write_site_settings(SITES[0])
    with held_lock(home / "daemon.lock"):
        ended = real.run_site(SITES[0])
    assert ended.returncode == 1
    assert "another daemon works on" in ended.stderr
