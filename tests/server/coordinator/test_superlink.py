"""What Flower's SuperLink does as we configure it; an upgrade that changes it fails here."""

import io
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.proto.fleet_pb2 import ActivateNodeRequest, ActivateNodeResponse
from flwr.supercore.protobuf.translation import PROTOBUF_REQUEST_TYPES
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from sqlalchemy import text
from starlette.testclient import TestClient
from tests.flower_in_memory import connect_clients

from fedward_common.errors import ConfigurationError
from fedward_common.flower_runtime import TaskQueue
from fedward_server.coordinator import flower_control
from fedward_server.coordinator.flower_control import FlowerControl
from fedward_server.coordinator.listener_gates import AsgiApp, PublicGate
from fedward_server.coordinator.loopback_access import LoopbackAccess
from fedward_server.coordinator.small_heap import keep_heap_small
from fedward_server.coordinator.superlink import superlink_app

ACCESS = LoopbackAccess(1)
WRONG = LoopbackAccess(1)
SERVER_APP = "flwr-serverapp"


@pytest.fixture
def app(flower_database: Path, monkeypatch: pytest.MonkeyPatch) -> AsgiApp:
    made = superlink_app(flower_database, ACCESS)
    connect_clients(monkeypatch, made)
    return made


def node_key() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    private = ec.generate_private_key(ec.SECP384R1())
    public = private.public_key()
    return private, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def activate(private: ec.EllipticCurvePrivateKey, public: bytes) -> ActivateNodeResponse:
    client = FleetHttpClient(
        "http://127.0.0.1", interceptors=[NodeAuthHttpInterceptor(private, private.public_key())]
    )
    return client.ActivateNode(ActivateNodeRequest(public_key=public, heartbeat_interval=30))


def test_no_fleet_request_is_answered_without_a_nodes_signature(app: AsgiApp) -> None:
    client = TestClient(PublicGate(app), raise_server_exceptions=False)
    paths = [path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/fleet/")]
    assert len(paths) >= 12
    for path in paths:
        for kind in ("application/x-protobuf", "application/json", "application/protobuf"):
            status = client.post(path, content=b"", headers={"content-type": kind}).status_code
            assert status in (400, 401, 415), (path, kind, status)


@pytest.mark.parametrize("dots", ["..", "%2e%2e", "%2E%2e", "..%2f.."])
def test_no_path_leads_around_the_gate(app: AsgiApp, dots: str) -> None:
    client = TestClient(PublicGate(app), raise_server_exceptions=False)
    headers = {"content-type": "application/x-protobuf", "authorization": f"Bearer {ACCESS.token}"}
    url = httpx.URL("http://x").copy_with(raw_path=f"/v1/fleet/{dots}/control/list-nodes".encode())
    assert client.post(url, headers=headers).status_code == 404


def test_only_a_registered_node_connects_and_a_forgotten_one_no_more(app: AsgiApp) -> None:
    control = FlowerControl(ACCESS)
    private, public = node_key()
    with pytest.raises(httpx.HTTPStatusError):
        activate(private, public)
    control.register_node(public)
    node_id = activate(private, public).node_id
    assert control.nodes() == {public: node_id}
    control.forget_node(node_id)
    assert control.nodes() == {}
    with pytest.raises(httpx.HTTPStatusError):
        activate(private, public)


def test_a_second_node_of_one_key_is_refused_while_the_first_is_online(app: AsgiApp) -> None:
    private, public = node_key()
    FlowerControl(ACCESS).register_node(public)
    activate(private, public)
    with pytest.raises(httpx.HTTPStatusError):
        activate(private, public)


def test_a_node_cannot_register_itself(app: AsgiApp) -> None:
    from flwr.proto.fleet_pb2 import RegisterNodeFleetRequest

    private, public = node_key()
    client = FleetHttpClient(
        "http://127.0.0.1", interceptors=[NodeAuthHttpInterceptor(private, private.public_key())]
    )
    with pytest.raises(httpx.HTTPStatusError):
        client.RegisterNode(RegisterNodeFleetRequest(public_key=public))
    assert FlowerControl(ACCESS).nodes() == {}


def test_a_key_that_flower_does_not_take_is_an_error_by_name(app: AsgiApp) -> None:
    with pytest.raises(ConfigurationError) as refused:
        FlowerControl(ACCESS).register_node(b"no key")
    assert refused.value.code == "NODE_KEY_REFUSED"


def test_no_order_is_taken_without_the_token(app: AsgiApp) -> None:
    stranger = FlowerControl(WRONG)
    for order in (
        stranger.nodes,
        stranger.stop_open_runs,
        lambda: stranger.submit_run("first"),
        lambda: stranger.register_node(node_key()[1]),
    ):
        with pytest.raises((httpx.HTTPStatusError, ConfigurationError)):
            order()
    control = FlowerControl(ACCESS)
    assert control.nodes() == {}
    assert control.stop_open_runs() == 0


def test_every_control_path_wants_the_token(app: AsgiApp) -> None:
    client = TestClient(app, raise_server_exceptions=False)
    headers = {"content-type": "application/protobuf"}
    login = {"get-login-details", "get-auth-tokens", "refresh-auth-tokens"}
    paths = [path for _, path in PROTOBUF_REQUEST_TYPES if path.startswith("/v1/control/")]
    asked = [path for path in paths if path.rsplit("/", 1)[1] not in login]
    assert len(asked) >= 30
    for path in asked:
        status = client.post(path, content=b"", headers=headers).status_code
        assert status in (400, 401), (path, status)


def test_a_task_goes_to_who_knows_the_secret(app: AsgiApp) -> None:
    FlowerControl(ACCESS).submit_run("first")
    stranger = TaskQueue(ACCESS.port, WRONG.task_secret, SERVER_APP, SERVER_APP)
    with pytest.raises(httpx.HTTPStatusError):
        stranger.next_token()
    queue = TaskQueue(ACCESS.port, ACCESS.task_secret, SERVER_APP, SERVER_APP)
    assert queue.next_token()
    assert queue.next_token() == ""


def test_runs_that_are_open_are_stopped_and_leave_no_task(app: AsgiApp) -> None:
    control = FlowerControl(ACCESS)
    assert control.submit_run("first") != control.submit_run("first")
    assert control.stop_open_runs() == 2
    assert control.stop_open_runs() == 0
    queue = TaskQueue(ACCESS.port, ACCESS.task_secret, SERVER_APP, SERVER_APP)
    assert queue.next_token() == ""


def test_runs_and_nodes_outlive_the_process(
    app: AsgiApp, flower_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, public = node_key()
    FlowerControl(ACCESS).register_node(public)
    FlowerControl(ACCESS).submit_run("first")
    anew = LoopbackAccess(1)
    connect_clients(monkeypatch, superlink_app(flower_database, anew))
    assert list(FlowerControl(anew).nodes()) == [public]
    assert FlowerControl(anew).stop_open_runs() == 1
    with pytest.raises(httpx.HTTPStatusError):
        FlowerControl(ACCESS).nodes()  # the token of the start before


def test_the_bundle_is_names_without_code(project_root: Path) -> None:
    bundle = flower_control._bundle()
    assert bundle.content == flower_control._bundle.__wrapped__().content
    with zipfile.ZipFile(io.BytesIO(bundle.content)) as archive:
        assert sorted(archive.namelist()) == [".info/CONTENT", "pyproject.toml"]
        named = tomllib.loads(archive.read("pyproject.toml").decode())
    components = named["tool"]["flwr"]["app"]["components"]
    assert components == {
        "serverapp": "fedward_server.coordinator.app:app",
        "clientapp": "fedward_client.daemon.app:app",
    }
    assert "dependencies" not in named["project"]
    packaged = Path(flower_control.__file__).with_name("flower_pointer.toml")
    assert (project_root / "deploy/flower-app/pyproject.toml").read_text() == packaged.read_text()


def test_a_connection_to_the_database_holds_four_megabytes_and_maps_nothing(app: Any) -> None:
    """Flower's own are 64 MB and 256 MB, for each thread that serves."""
    state = app.state.linkstate_factory.state()
    with state.session() as session:
        held = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("cache_size", "mmap_size", "journal_mode", "foreign_keys")
        }
    assert held == {"cache_size": -4000, "mmap_size": 0, "journal_mode": "wal", "foreign_keys": 1}


def test_freed_memory_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[int, int]] = []

    def mallopt(option: int, value: int) -> int:
        options.append((option, value))
        return 1

    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    keep_heap_small()
    # malloc.h: M_MMAP_THRESHOLD is -3, M_ARENA_MAX is -8.
    assert options == [(-3, 1 << 20), (-8, 2)]


def test_a_system_whose_library_has_no_such_option_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: SimpleNamespace())
    keep_heap_small()
