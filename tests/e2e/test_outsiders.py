"""Who holds no more than the certificate of the coordinator's TLS authority, or a revoked key.

Both speak to the public listener of a coordinator that is a process of its own and has a run under
way. What waits for a site there is asked for as the site itself would ask.
"""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.proto.fleet_pb2 import ActivateNodeResponse, PullMessagesResponse
from tests.attacks.network.outsider import (
    FLEET,
    ORDER_PATHS,
    REFUSED,
    ask,
    names_in,
    new_key,
    pem_of,
    statuses,
)
from tests.client.daemon.test_trusted_roster import Office
from tests.common.consortium.applicants import invitation_of, request_of
from tests.real_federation import Process, RealFederation, make_real_federation
from tests.tiny_federation import SITES

from fedward_client.daemon.node_key import node_key_file
from fedward_client.site_home import SiteHome
from fedward_common.atomic_files import write_atomically
from fedward_common.consortium.enrolment_answer import is_waiting
from fedward_common.consortium.enrolment_request import ENROLMENT_PATH
from fedward_common.consortium.roster_request import make_roster_request
from fedward_common.crypto.signing import SigningKey
from fedward_common.errors import UnverifiedMessageError
from fedward_common.identities import SiteId
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.loopback_access import read_loopback_access
from fedward_server.simulation.throwaway_consortium import CONSORTIUM

REVOKED = SITES[2]
RUN = "first"
Known = dict[str, Any]


@pytest.fixture
def real(tmp_path: Path) -> Iterator[RealFederation]:
    federation = make_real_federation(tmp_path)
    federation.tiny.set_up(federation.coordinator_home.runs / RUN)
    yield federation
    assert federation.close() == []


def connected(real: RealFederation) -> httpx.Client:
    """Connect with what every member and every former member has: the authority's certificate."""
    context = ssl.create_default_context(cafile=real.tls / "authority.pem")
    return httpx.Client(base_url=f"https://127.0.0.1:{real.port}", verify=context, timeout=60)


def key_of_node(real: RealFederation, site: str) -> ec.EllipticCurvePrivateKey:
    content = node_key_file(SiteHome(real.tiny.homes[SiteId(site)])).read_bytes()
    private = load_ssh_private_key(content, password=None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return private


def until(look: Callable[[], Any], seconds: float = 60) -> Any:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing came in {seconds} s")


def question_for(public: httpx.Client, key: ec.EllipticCurvePrivateKey) -> Known:
    """Connect as a member's node, and give what it then knows of the question that waits for it."""
    known: Known = {"public_key": pem_of(key)}
    answer = ask(public, FLEET + "activate-node", key, **known, heartbeat_interval=60.0)
    known["node_id"] = ActivateNodeResponse.FromString(answer.content).node_id

    def look() -> PullMessagesResponse | None:
        answer = ask(public, FLEET + "pull-messages", key, **known)
        came = PullMessagesResponse.FromString(answer.content)
        return came if came.messages_list else None

    came = until(look)
    names = list(names_in(came.message_object_trees[0]))
    return known | {"run_id": came.messages_list[0].metadata.run_id, "object_id": names[-1]}


def require_no_order_is_taken(public: httpx.Client, *keys: ec.EllipticCurvePrivateKey) -> None:
    """No run is submitted, no node listed, no task taken: those paths are not there at all."""
    for path in ORDER_PATHS:
        for key in (None, *keys):
            assert ask(public, path, key).status_code == 404, path


def require_nothing_is_fetched(
    public: httpx.Client, key: ec.EllipticCurvePrivateKey | None, known: Known
) -> None:
    found = statuses(public, key, **known)
    assert set(found.values()) <= REFUSED, found


def refusal_of_enrolment(public: httpx.Client, request: bytes) -> str:
    """Ask the office's place online; give the code, which is all that comes back."""
    answer = public.post(ENROLMENT_PATH, content=request)
    with pytest.raises(UnverifiedMessageError) as refused:
        is_waiting(answer.content)
    return refused.value.code


def nodes_of(real: RealFederation) -> set[bytes]:
    access = read_loopback_access(real.coordinator_home.loopback_file)
    control = FlowerControl(access)
    try:
        return set(control.nodes())
    finally:
        control.close()


def revoke(real: RealFederation, coordinator: Process, site: str) -> None:
    office = Office(real.tiny)
    members = {name: one for name, one in office.members.items() if name != site}
    write_atomically(real.coordinator_home.roster_file, office.sign(members, version=2))
    coordinator.wait_for("node.forgotten", 60)


@pytest.mark.slow
def test_neither_the_authoritys_certificate_nor_a_revoked_key_opens_anything(
    real: RealFederation,
) -> None:
    coordinator = real.start_coordinator()
    member = key_of_node(real, REVOKED)
    with connected(real) as public:
        known = question_for(public, member)
        fetched = ask(public, FLEET + "pull-object", member, **known)
        assert fetched.status_code == 200  # so what follows is refused for who asks alone

        stranger = new_key()
        require_no_order_is_taken(public, stranger, member)
        for key in (None, stranger):
            require_nothing_is_fetched(public, key, known)
            require_nothing_is_fetched(public, key, known | {"public_key": pem_of(stranger)})
        assert refusal_of_enrolment(public, request_of(invitation_of("drifter"))) != ""
        drifter = make_roster_request(
            SigningKey.generate(), consortium=CONSORTIUM, site=REVOKED, known_version=0
        )
        assert refusal_of_enrolment(public, drifter) == "UNVERIFIED_MESSAGE"
        assert len(nodes_of(real)) == len(SITES)

        revoke(real, coordinator, REVOKED)
        require_no_order_is_taken(public, member)
        require_nothing_is_fetched(public, member, known)
        own = SigningKey.from_raw(
            bytes.fromhex((real.tiny.homes[SiteId(REVOKED)] / "trust" / "site.key").read_text())
        )
        asks = make_roster_request(own, consortium=CONSORTIUM, site=REVOKED, known_version=0)
        assert refusal_of_enrolment(public, asks) == "NOT_A_MEMBER"
    assert nodes_of(real) == {pem_of(key_of_node(real, site)) for site in SITES[:2]}
    assert coordinator.end() == 0


@pytest.mark.parametrize("key", ["coordinator.key", "tls/server.key"])
def test_a_key_that_every_account_may_read_stops_the_coordinator(
    real: RealFederation, key: str
) -> None:
    real.write_coordinator_settings()
    file = real.coordinator_home.folder / key
    file.chmod(0o644)
    ended = real.run_coordinator()
    assert ended.returncode == 2
    assert f"every account of this machine may use {file}" in ended.stderr


def test_a_key_that_every_account_may_read_stops_a_site(real: RealFederation) -> None:
    real.port = 1
    home = real.write_site_settings(SITES[0])
    (home / "trust" / "site.key").chmod(0o644)
    ended = real.run_site(SITES[0])
    assert ended.returncode == 2
    assert "every account of this machine may use" in ended.stderr
    assert "hint: chmod 600" in ended.stderr
