"""The Grid of a simulation, asked as Flower's own strategies ask."""

import stat
from pathlib import Path

from flwr.app import Message
from tests.tiny_federation import TinyFederation

from fedward_common.identities import COORDINATOR
from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, sign_envelope
from fedward_common.wire.flower_records import array_record_of_buffers, records_of
from fedward_server.simulation.in_process_grid import FIRST_NODE_ID, InTurnGrid
from fedward_server.simulation.throwaway_consortium import private_key


def test_two_messages_to_one_node_sent_at_once_are_both_answered(
    tiny: TinyFederation, run_folder: Path
) -> None:
    setup = tiny.set_up(run_folder)
    query = messages.ManifestQuery(setup.manifest_bytes, setup.roster_bytes)
    kind, body = messages.encode_message(query)
    envelope = sign_envelope(
        setup.key, subject=Subject(setup.manifest.consortium, setup.manifest.run, ""),
        sender=COORDINATOR, recipient="", kind=kind, body=body, arrays_sha256={},
    )  # fmt: skip
    grid = InTurnGrid(tiny.node_configs())  # first: it sets this process's identity
    asked = [
        Message(records_of(envelope, array_record_of_buffers({})), node, "query.manifest")
        for node in (FIRST_NODE_ID, FIRST_NODE_ID, FIRST_NODE_ID + 1)
    ]
    replies = grid.send_and_receive(asked, timeout=0.0)
    assert not any(reply.has_error() for reply in replies)
    answered = [reply.metadata.reply_to_message_id for reply in replies]
    assert answered == [message.metadata.message_id for message in asked]


def test_the_coordinators_key_is_its_owners_alone_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "coordinator.key"
    key = private_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert private_key(file).to_raw() == key.to_raw()
