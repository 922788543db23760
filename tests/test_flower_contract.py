"""What the adapters use of Flower beyond its documented interface.

Each of these may change with any release of Flower. When one fails after an upgrade, the module
that it names has to be looked at; everything else of the project does not know Flower's inside.
What these parts do is tested with the adapters; here stands only what they look like.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import flwr
import pytest
from flwr.cli.build import build_fab_from_files
from flwr.common.constant import HEARTBEAT_DEFAULT_INTERVAL, SubStatus
from flwr.proto import control_pb2, node_pb2, runtime_pb2
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import (
    RuntimeTokenHttpInterceptor,
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufClient
from flwr.supercore.retry import RetryInvoker
from flwr.supercore.run import Run
from flwr.supercore.runtime import RuntimeHttpClient
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.grid import HttpGrid
from flwr.superlink.main import create_app
from flwr.supernode.cli.flower_supernode import _parse_args_run_supernode
from flwr.supernode.runtime import run_clientapp


def parameters_of(function: Callable[..., Any]) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self", "cls"}


def test_the_release_is_the_one_that_was_read() -> None:
    assert flwr.__version__ == "1.41.0"


def test_superlink_is_configured_by_these_fields() -> None:
    """`coordinator/superlink.py`."""
    names = {field.name for field in dataclasses.fields(SuperLinkLifespanConfig)}
    assert names == {
        "control_address", "health_server_address", "host", "port", "insecure", "certificates",
        "superexec_auth_secret", "authn_plugin", "event_log_plugin", "fleet_event_log_plugin",
        "enable_event_log", "artifact_provider", "enable_supernode_auth", "fleet_api_type",
        "fleet_api_address", "simulation", "ssl_ca_certfile", "ssl_certfile", "ssl_keyfile",
        "database", "isolation", "runtime_dependency_install",
    }  # fmt: skip
    assert parameters_of(create_app) == {"config", "superlink_lifespan_class"}


def test_the_start_up_class_is_asked_for_nothing_but_start_and_stop() -> None:
    """`coordinator/superlink.py` leaves Flower's own out."""
    source = inspect.getsource(create_app)
    assert "superlink_lifespan_class(config, linkstate_factory)" in source
    assert source.count("superlink_lifespan.") == 2
    assert "superlink_lifespan.startup()" in source
    assert "superlink_lifespan.shutdown()" in source


@pytest.mark.parametrize(
    ("client", "methods"),
    [
        (ControlHttpClient, ["StartRun", "StopRun", "ListRuns", "ListNodes", "RegisterNode",
                             "UnregisterNode"]),
        (RuntimeHttpClient, ["AcquireTask", "SendTaskHeartbeat", "PullTaskInput",
                             "PushTaskOutput"]),
    ],
)  # fmt: skip
def test_the_clients_have_these_calls(client: type[ProtobufClient], methods: list[str]) -> None:
    """`coordinator/flower_control.py`, `flower_runtime.py`, `coordinator/run_tasks.py`."""
    for method in methods:
        assert parameters_of(getattr(client, method)) == {"request"}
    assert parameters_of(client.from_server_address) == {
        "server_address", "insecure", "root_certificates", "interceptors", "retry_invoker",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (control_pb2.StartRunRequest, {"fab", "override_config"}),
        (control_pb2.StartRunResponse, {"run_id"}),
        (control_pb2.ListRunsRequest, {"limit"}),
        (control_pb2.ListRunsResponse, {"run_dict"}),
        (control_pb2.ListNodesResponse, {"nodes_info"}),
        (node_pb2.NodeInfo, {"node_id", "public_key", "status"}),
        (control_pb2.RegisterNodeRequest, {"public_key"}),
        (control_pb2.UnregisterNodeRequest, {"node_id"}),
        (runtime_pb2.AcquireTaskRequest, {"supported_task_types"}),
        (runtime_pb2.AcquireTaskResponse, {"task", "token"}),
        (runtime_pb2.PullTaskInputResponse, {"task_id", "run", "context"}),
        (runtime_pb2.PushTaskOutputRequest, {"sub_status", "details"}),
    ],
)
def test_the_messages_have_these_fields(message: Any, fields: set[str]) -> None:
    """`coordinator/flower_control.py`, `flower_runtime.py`, both task loops."""
    assert fields <= {field.name for field in message.DESCRIPTOR.fields}


def test_a_grid_asks_through_the_connection_that_it_is_given() -> None:
    """`coordinator/run_tasks.py` sets it, so that Flower's retries never interrupt the process."""
    grid = HttpGrid("127.0.0.1:1", insecure=True, token="x")
    ours = object()
    grid._client = ours  # type: ignore[assignment]
    assert grid._runtime_client is ours
    assert "_retry_invoker" not in inspect.getsource(HttpGrid.push_messages)
    assert "_retry_invoker" not in inspect.getsource(HttpGrid.pull_messages)


def test_the_sites_loop_gets_and_gives_a_message_in_these_three_calls() -> None:
    """`daemon/task_loop.py`: none of them touches the bundle."""
    assert parameters_of(run_clientapp.pull_task_input) == {"client"}
    assert parameters_of(run_clientapp.push_message) == {"client", "message", "context"}
    assert parameters_of(run_clientapp.push_task_output) == {
        "client", "context", "sub_status", "details",
    }  # fmt: skip
    for call in (
        run_clientapp.pull_task_input,
        run_clientapp.push_message,
        run_clientapp.push_task_output,
    ):
        assert "install" not in inspect.getsource(call)


def test_a_node_takes_these_options() -> None:
    """`daemon/start_command.py`."""
    parser = _parse_args_run_supernode()
    options = {option for action in parser._actions for option in action.option_strings}
    assert options >= {
        "--superlink", "--root-certificates", "--auth-supernode-private-key", "--isolation",
        "--superexec-auth-secret-file", "--host", "--port",
    }  # fmt: skip


def test_what_is_sent_beside_every_call_is_made_like_this() -> None:
    """`flower_runtime.py`."""
    assert parameters_of(RuntimeVersionHttpInterceptor) == {"component_name"}
    assert parameters_of(RuntimeTokenHttpInterceptor) == {"token"}
    assert parameters_of(SuperExecAuthHttpInterceptor) == {"master_secret", "protected_methods"}
    assert parameters_of(HeartbeatSender) == {"heartbeat_fn"}
    assert {"wait_gen_factory", "recoverable_exceptions", "should_giveup"} <= parameters_of(
        RetryInvoker
    )


def test_a_message_is_made_in_the_name_of_the_task_of_this_process() -> None:
    """`coordinator/run_tasks.py`: one run at a time, because of this."""
    for name in ("task_id", "run_id", "node_id"):
        assert isinstance(getattr(type(TaskIdentity), name), property)
    assert {"run_id", "override_config"} <= {field.name for field in dataclasses.fields(Run)}


def test_names_and_numbers_that_are_relied_on() -> None:
    assert (TaskType.SERVER_APP, TaskType.CLIENT_APP) == ("flwr-serverapp", "flwr-clientapp")
    assert (SubStatus.COMPLETED, SubStatus.FAILED) == ("completed", "failed")
    assert HEARTBEAT_DEFAULT_INTERVAL == 30
    assert parameters_of(build_fab_from_files) == {"files"}
