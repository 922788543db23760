"""What Fedward takes of Flower 1.41 beyond its public interface; an upgrade breaks here first."""

import inspect
from collections.abc import Iterator

import pytest
from flwr.app import ConfigRecord, Context, Error, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid, ServerApp
from flwr.supercore.task_identity import TaskIdentity

from fedward_server.simulation.in_process_grid import InTurnGrid
from fedward_server.simulation.message_frame import _DELIVERED_AT, _METADATA_FIELDS


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    """Leave this process's identity as it was."""
    names = ("_run_id", "_node_id", "_task_id")
    before = {name: getattr(TaskIdentity, name) for name in names}
    TaskIdentity.run_id = TaskIdentity.node_id = TaskIdentity.task_id = 1
    yield
    for name, value in before.items():
        setattr(TaskIdentity, name, value)


def _content() -> RecordDict:
    return RecordDict({"c": ConfigRecord({"k": b"v"})})


def _request() -> Message:
    message = Message(_content(), dst_node_id=7, message_type="train.round", group_id="3")
    message.metadata.__dict__["_message_id"] = "m1"
    return message


def test_a_message_takes_run_and_sender_from_the_process_identity() -> None:
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 11, 12, 13
    metadata = Message(_content(), dst_node_id=7, message_type="train.round").metadata
    assert (metadata.run_id, metadata.src_node_id, metadata.dst_node_id) == (11, 12, 7)


def test_a_message_id_can_be_set_in_the_metadatas_dict() -> None:
    assert _request().metadata.message_id == "m1"


def test_a_reply_names_the_request_and_its_run_type_and_group() -> None:
    reply = Message(_content(), reply_to=_request())
    metadata = reply.metadata
    assert metadata.reply_to_message_id == "m1"
    assert (metadata.message_type, metadata.group_id) == ("train.round", "3")
    reply.metadata.__dict__["_src_node_id"] = 99
    assert reply.metadata.src_node_id == 99


def test_metadata_is_made_of_the_fields_that_a_frame_carries() -> None:
    names = [attribute.removeprefix("_") for attribute in _METADATA_FIELDS]
    assert sorted(inspect.signature(Metadata).parameters) == sorted(names)
    metadata = _request().metadata
    fields = {name: vars(metadata)[f"_{name}"] for name in names}
    assert vars(Metadata(**fields)) | {_DELIVERED_AT: ""} == vars(metadata)


def test_a_message_can_be_rebuilt_from_metadata_with_content_or_error() -> None:
    metadata = _request().metadata
    whole = Message(content=_content(), metadata=metadata)  # type: ignore[call-overload]
    assert whole.metadata == metadata
    assert whole.content == _content()
    failed = Message(error=Error(5, "WHY"), metadata=metadata)  # type: ignore[call-overload]
    assert failed.has_error()
    assert (failed.error.code, failed.error.reason) == (5, "WHY")


def test_a_client_app_is_called_with_a_message_and_a_context() -> None:
    app = ClientApp()

    @app.train("round")
    def train(message: Message, context: Context) -> Message:
        content = RecordDict({"r": ConfigRecord({"node": context.node_id})})
        return Message(content, reply_to=message)

    context = Context(run_id=1, node_id=7, node_config={}, state=RecordDict(), run_config={})
    reply = app(_request(), context)
    assert reply.content["r"] == ConfigRecord({"node": 7})


def test_a_client_app_raises_for_a_message_it_has_no_function_for() -> None:
    context = Context(run_id=1, node_id=7, node_config={}, state=RecordDict(), run_config={})
    with pytest.raises(ValueError, match="No train function"):
        ClientApp()(_request(), context)


def test_a_server_app_is_called_with_a_grid_and_a_context() -> None:
    app, seen = ServerApp(), []

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        seen.append((grid, context.run_config["k"]))

    grid = InTurnGrid({})
    context = Context(
        run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={"k": "v"}
    )
    app(grid, context)
    assert seen == [(grid, "v")]


def test_an_exception_of_a_server_app_reaches_its_caller() -> None:
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        raise KeyError("mine")

    context = Context(run_id=1, node_id=1, node_config={}, state=RecordDict(), run_config={})
    with pytest.raises(KeyError, match="mine"):
        app(InTurnGrid({}), context)


def test_the_error_code_of_a_raising_app_is_still_flowers() -> None:
    assert ErrorCode.CLIENT_APP_RAISED_EXCEPTION == 2


def test_the_simulated_grid_has_all_that_a_grid_must_have() -> None:
    assert not getattr(InTurnGrid, "__abstractmethods__", None)
    assert isinstance(InTurnGrid({}), Grid)
