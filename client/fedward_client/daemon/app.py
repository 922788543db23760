"""The site's Flower app: the one Flower adapter of this side.

Opens Flower's message, hands envelope and arrays to the handlers, and wraps the answer. Flower
sends the text of an exception to the coordinator, so none leaves this module: an error reply
carries a code. What could not be believed, or not answered, stands in the home all the same.
"""

import functools
import time
from pathlib import Path

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from fedward_client.daemon.audit import audit_unbelieved, refusal_code
from fedward_client.daemon.handlers import answer_request
from fedward_client.daemon.site_state import OpenSite, open_site
from fedward_client.site_home import SiteHome
from fedward_common.secagg.rounds_in_memory import ROUNDS_IN_MEMORY
from fedward_common.wire.flower_records import array_record, envelope_of, records_of

_REFUSED = 1

app = ClientApp()


@app.query("manifest")
def query_manifest(message: Message, context: Context) -> Message:
    """Say whether this site takes part in a run."""
    return _answer(message, context)


@app.train("round")
def train_round(message: Message, context: Context) -> Message:
    """Train one round."""
    return _answer(message, context)


@app.evaluate("validation")
def evaluate_validation(message: Message, context: Context) -> Message:
    """Evaluate weights on validation patients."""
    return _answer(message, context)


@app.evaluate("final")
def evaluate_final(message: Message, context: Context) -> Message:
    """Evaluate the selected weights on test patients."""
    return _answer(message, context)


@app.query("share")
@app.query("mask")
@app.query("confirm")
@app.query("unmask")
@app.query("abandon")
@app.query("abandoned")
def query_step(message: Message, context: Context) -> Message:
    """Take one step of secure aggregation."""
    return _answer(message, context)


@app.query("result")
def query_result(message: Message, context: Context) -> Message:
    """Keep what came of a run."""
    return _answer(message, context)


# One path for all messages of a home: making and hashing one costs as much as looking at a file.
_folder_at = functools.lru_cache(maxsize=512)(Path)


def _answer(message: Message, context: Context) -> Message:
    # Made first: after training, which empties the processor's caches, it takes ten times as long.
    reply = Message(RecordDict(), reply_to=message)
    folder = _folder_at(str(context.node_config["site-home"]))
    site: OpenSite | None = None
    try:
        site = open_site(folder)
        site.rounds_in_memory = str(context.node_config.get(ROUNDS_IN_MEMORY, ""))
        envelope, arrays = envelope_of(message.content)
        signed, answer = answer_request(site, envelope, arrays, message.metadata.message_type)
        reply.content = records_of(signed, array_record(answer))
        return reply
    except Exception as error:  # the edge: nothing but a code may leave
        now_seconds = time.time() if site is None else site.utc_seconds()
        asked = message.metadata.message_type
        audit_unbelieved(SiteHome(folder), asked, error, now_seconds=now_seconds)
        return Message(Error(code=_REFUSED, reason=refusal_code(error)), reply_to=message)
