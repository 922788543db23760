"""Orders to the SuperLink of this machine: nodes that may connect, and runs.

A run of Flower's is only the errand of a run of Fedward's: it names a folder below `runs/`, and
where the coordinator was killed the same folder goes on as another run of Flower's. The bundle that
Flower wants for each is a pointer without code.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from flwr.common.serde import fab_to_proto, user_config_to_proto
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.fab import Fab
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedward_common.errors import ConfigurationError
from fedward_common.flower_environment import LOOPBACK
from fedward_server.coordinator.loopback_access import LoopbackAccess

RUN_KEY = "run"

_MAX_RUNS = 10_000
_GONE = "unregistered"
_ONLINE = "online"
_WAITING = "pending"
_RUNNING = "running"
_FINISHED = "finished"


@dataclass(frozen=True)
class OrderedRun:
    """What became of the last order of one run.

    Attributes:
        is_open: It waits for its turn, or is under way.
        is_running: It is under way.
        code: Why it ended before its end; empty where it did not.
    """

    is_open: bool
    is_running: bool
    code: str


class FlowerControl:
    """Speaks to the control API on loopback.

    Args:
        access: Of the coordinator's process.
    """

    def __init__(self, access: LoopbackAccess) -> None:
        self._client = ControlHttpClient.from_server_address(
            server_address=f"{LOOPBACK}:{access.port}",
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="flwr"),
                _Bearer(access.token),
            ],
        )

    def nodes(self) -> Mapping[bytes, int]:
        """Give each registered node's id by its key in PEM."""
        found = self._client.ListNodes(ListNodesRequest()).nodes_info
        return {node.public_key: node.node_id for node in found if node.status != _GONE}

    def online_nodes(self) -> frozenset[bytes]:
        """Give the keys, in PEM, of the nodes that are connected now."""
        found = self._client.ListNodes(ListNodesRequest()).nodes_info
        return frozenset(node.public_key for node in found if node.status == _ONLINE)

    def register_node(self, public_key: bytes) -> None:
        """Let the node with this key connect.

        Raises:
            ConfigurationError: Flower does not take it: it was registered once and forgotten since.
        """
        try:
            self._client.RegisterNode(RegisterNodeRequest(public_key=public_key))
        except httpx.HTTPStatusError as error:
            raise ConfigurationError(
                f"Flower refuses a node's key (status {error.response.status_code})",
                hint="a key that was removed once stays so; the site must make another",
                code="NODE_KEY_REFUSED",
            ) from error

    def forget_node(self, node_id: int) -> None:
        """Let a node connect no more."""
        self._client.UnregisterNode(UnregisterNodeRequest(node_id=node_id))

    def submit_run(self, name: str) -> int:
        """Order the run in `runs/NAME`, or its continuation; give the id of Flower's run."""
        fab = _bundle()
        answer = self._client.StartRun(
            StartRunRequest(
                fab=fab_to_proto(fab), override_config=user_config_to_proto({RUN_KEY: name})
            )
        )
        return int(answer.run_id)

    def ordered_runs(self) -> Mapping[str, OrderedRun]:
        """Give the last order of each run in `runs/`, by its name."""
        listed = self._client.ListRuns(ListRunsRequest(limit=_MAX_RUNS)).run_dict.values()
        ordered: dict[str, OrderedRun] = {}
        for run in sorted(listed, key=lambda run: run.pending_at):
            name, status = run.override_config[RUN_KEY].string, run.status
            ordered.pop(name, None)  # so that the order of names is that of the last orders
            ordered[name] = OrderedRun(
                is_open=status.status != _FINISHED,
                is_running=status.status == _RUNNING,
                code=status.details,
            )
        return ordered

    def withdraw_run(self, name: str) -> int:
        """End each order of a run that waits for its turn; give how many."""
        listed = self._client.ListRuns(ListRunsRequest(limit=_MAX_RUNS)).run_dict
        waiting = [
            run_id
            for run_id, run in listed.items()
            if run.override_config[RUN_KEY].string == name and run.status.status == _WAITING
        ]
        for run_id in waiting:
            self._client.StopRun(StopRunRequest(run_id=run_id))
        return len(waiting)

    def stop_open_runs(self) -> int:
        """End every run of Flower's that is not over, as after a crash; give how many."""
        listed = self._client.ListRuns(ListRunsRequest(limit=_MAX_RUNS)).run_dict
        still_open = [i for i, run in listed.items() if run.status.status != _FINISHED]
        for run_id in still_open:
            self._client.StopRun(StopRunRequest(run_id=run_id))
        return len(still_open)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class _Bearer:
    """Shows the token with every call."""

    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        context.request.headers["authorization"] = self._header
        return call_next(context)


@functools.cache
def _bundle() -> Fab:
    """Pack the pointer, always to the same bytes."""
    # Brings in half of Flower's own command line, which no other order needs.
    from flwr.cli.build import build_fab_from_files

    pointer = Path(__file__).with_name("flower_pointer.toml").read_bytes()
    content, _ = build_fab_from_files({"pyproject.toml": pointer})
    return Fab(hashlib.sha256(content).hexdigest(), content, {})
