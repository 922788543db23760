"""A member that speaks to the coordinator as its own site would, and sends what it sent before."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from flwr.app import Context, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.fleet_http_connection import http_request_response
from tests.faulty_federation import SECONDS, FaultyFederation
from tests.faulty_network import until
from tests.masked_federation import FIVE_SITES

from fedward_client.daemon.app import app
from fedward_client.daemon.node_key import node_key_file
from fedward_client.site_home import SiteHome
from fedward_common.identities import SiteId

SITE = "elder"


class Member:
    """Speaks Flower's protocol with the node's key of a home.

    Args:
        home: Of the site.
        connection: What Flower gives to its own node.
    """

    def __init__(self, home: Path, connection: Any) -> None:
        self._home = home
        node, self._receive, self._send, _, _, self._pull, self._push, self._confirm = connection
        TaskIdentity.node_id = TaskIdentity.task_id = node

    def asked(self) -> Message:
        """Wait for the coordinator's next message."""
        came: list[Any] = []

        def has_come() -> bool:
            came.extend(filter(None, [self._receive()]))
            return bool(came)

        until(has_come, "a message", SECONDS, every_seconds=0.3)
        head, tree = came[0]
        run = TaskIdentity.run_id = head.metadata.run_id
        message = pull_and_inflate_object_from_tree(
            tree,
            lambda name: self._pull(run, name),
            lambda name: self._confirm(run, name),
            return_type=Message,
        )
        message.metadata.__dict__["_message_id"] = tree.object_id
        return message

    def honest(self, message: Message) -> Message:
        """Answer as the site does."""
        context = Context(1, 1, {"site-home": str(self._home)}, RecordDict(), {})
        return app(message, context)

    def say(self, reply: Message) -> None:
        """Send an answer."""
        run = reply.metadata.run_id
        with no_object_id_recompute():
            reply.metadata.__dict__["_message_id"] = reply.object_id
            parts = get_all_nested_objects(reply)
            tree = get_object_tree(reply)
            names, session = self._send(remove_content_from_message(reply), tree, 0.0)
            for name in names:
                self._push(run, session, name, parts[name].deflate())


@contextmanager
def member(federation: FaultyFederation, site: str) -> Iterator[Member]:
    """Take a site's place at the coordinator."""
    home = federation.tiny.homes[SiteId(site)]
    key = load_ssh_private_key(node_key_file(SiteHome(home)).read_bytes(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey)
    authority = str(federation.tls / "authority.pem")
    address = f"127.0.0.1:{federation.port}"
    with http_request_response(
        address, False, authority, (key, key.public_key()), None, None
    ) as connection:
        yield Member(home, connection)


@pytest.mark.slow
def test_an_answer_that_is_sent_again_counts_for_no_other_question(
    federation: FaultyFederation,
) -> None:
    """F28: the other four go on, and the weights are theirs."""
    federation.lay_down(
        "again", "job.rounds=2", "evaluation.every=2", "quorum.required_sites=4",
        "quorum.deadline_seconds=60",
    )  # fmt: skip
    assert federation.sites[SITE].end() == 0
    with member(federation, SITE) as elder:
        federation.order("again")
        elder.say(elder.honest(elder.asked()))
        first = elder.asked()
        recorded = elder.honest(first)
        elder.say(recorded)
        one = federation.came("round.committed", run="again", round=1)
        assert one["sites"] == list(FIVE_SITES)
        elder.say(Message(recorded.content, reply_to=elder.asked()))
        two = federation.came("round.committed", run="again", round=2)
        assert two["failures"] == [f"{SITE}: UNVERIFIED_MESSAGE"]
    federation.came("run.finished", run="again")
    federation.start_site(SITE)
    federation.came_at(SITE, "node.connected")
