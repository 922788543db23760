"""What the coordinator asks in a run: messages with the run's subject and vectors beside them."""

from collections.abc import Mapping

import numpy as np

from fedward_common.wire import messages
from fedward_common.wire.envelope import Subject, hash_of_array
from fedward_common.wire.flower_records import array_record_of_buffers
from fedward_server.coordinator.exchange import Question
from fedward_server.coordinator.run_setup import RunSetup


def subject_of(
    setup: RunSetup, number: int = 0, attempt: int = 0, *, manifest: bool = True
) -> Subject:
    """Give what a message belongs to; only the first of a run names no manifest."""
    return Subject(
        setup.manifest.consortium,
        setup.manifest.run,
        setup.manifest_sha256 if manifest else "",
        number,
        attempt,
        setup.manifest.protocol,
    )


def question_of(
    flower_type: str, message: messages.Message, subject: Subject, buffers: Mapping[str, bytes]
) -> Question:
    """Put a question together; each buffer of float32 is hashed once for all sites."""
    hashes = {n: hash_of_array(np.frombuffer(b, np.float32)) for n, b in buffers.items()}
    record = array_record_of_buffers(buffers, hashes)
    return Question(flower_type, subject, message, record, hashes)
