"""What nodes were given, answered and lost."""

from hypothesis import given as drawn
from hypothesis import strategies as st

from fedward_server.coordinator.given_messages import GivenMessages

NODE, OTHER = 7, 8


def test_a_message_is_lost_where_its_node_asks_for_more_without_an_answer() -> None:
    given = GivenMessages()
    given.node_asks(NODE)
    given.node_is_given(NODE, ["first"])
    assert not given.is_lost("first")
    given.node_asks(OTHER)
    assert not given.is_lost("first")
    given.node_asks(NODE)
    assert given.is_lost("first")


def test_a_message_that_was_answered_is_never_lost() -> None:
    given = GivenMessages()
    given.node_is_given(NODE, ["first"])
    given.node_answers(NODE, "first")
    given.node_asks(NODE)
    assert not given.is_lost("first")


def test_an_answer_to_what_was_never_given_is_borne() -> None:
    given = GivenMessages()
    given.node_answers(NODE, "of another time")
    given.node_asks(NODE)
    assert not given.is_lost("of another time")


@drawn(st.lists(st.sampled_from(["given", "lost", "asks"]), max_size=40))
def test_what_is_lost_is_what_was_given_and_not_answered_before_the_next_question(
    steps: list[str],
) -> None:
    given = GivenMessages()
    open_now: set[str] = set()
    lost: set[str] = set()
    for number, step in enumerate(steps):
        name = str(number)
        if step == "asks":
            given.node_asks(NODE)
            lost |= open_now
            open_now.clear()
            continue
        given.node_is_given(NODE, [name])
        if step == "given":
            given.node_answers(NODE, name)
        else:
            open_now.add(name)
    assert {str(n) for n in range(len(steps)) if given.is_lost(str(n))} == lost
