"""Which answer belongs to which batch; deadlines; the wrap of the index."""

from __future__ import annotations

from math import inf

from hypothesis import given, strategies as st

from trio_sessions._batches import Batch, Batches
from trio_sessions._wire import MAX_INDEX, Message

A, B = "0x" + "a" * 40, "0x" + "b" * 40


def answer(batch: Batch, inner: int, timestamp: int | None = None) -> Message:
    return Message(A, B, 607, batch.size, batch.index, inner, batch.timestamp if timestamp is None else timestamp)


def sent(batches: Batches, size: int, at: float, deadline: float, timestamp: int = 1) -> Batch:
    batch = batches.begin(size, timestamp)
    batch.sent_at.extend([at] * size)
    batches.all_sent(batch, deadline)
    return batch


@given(st.data())
def test_each_batch_gets_exactly_its_own_answers(data: st.DataObject) -> None:
    batches = Batches()
    out = [sent(batches, size, 0.0, 2.0, timestamp=i) for i, size in enumerate(data.draw(sizes))]
    arrivals = [
        (batch, inner) for batch in out for inner in range(batch.size) for _ in range(data.draw(st.integers(0, 2)))
    ]
    for batch, inner in data.draw(st.permutations(arrivals)):
        batches.answer(answer(batch, inner), 1.0)
    batches.expire(2.0)
    for batch in out:
        outcome = batch.outcome(A, "stopped")
        mine = [inner for owner, inner in arrivals if owner is batch]
        assert outcome.answered == len(set(mine)) == len(outcome.rtts)
        assert outcome.answered + outcome.unanswered == outcome.sent == batch.size
        # Answers that come after the last missing one belong to nobody any more.
        assert outcome.duplicates <= len(mine) - len(set(mine))
        assert batch.done.is_set()
    assert len(batches) == 0


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def test_what_was_not_sent_cannot_be_answered() -> None:
    batches = Batches()
    batch = batches.begin(3, 7)
    batch.sent_at.append(0.5)
    assert not batches.answer(answer(batch, 1), 1.0)
    assert batches.answer(answer(batch, 0), 1.0)
    outcome = batch.outcome(A, "stopped")
    assert (outcome.sent, outcome.answered, outcome.undelivered, outcome.reason) == (1, 1, 2, "stopped")
    assert outcome.rtts == (0.5,)


def test_an_echo_of_another_time_is_no_answer() -> None:
    batches = Batches()
    batch = sent(batches, 2, 0.0, 2.0, timestamp=7)
    assert not batches.answer(answer(batch, 0, timestamp=8), 1.0)
    assert not batches.answer(answer(batch, 2), 1.0)
    assert batch.outcome(A, "").answered == 0
    assert batch.outcome(A, "").reason is None


def test_a_late_answer_is_ignored() -> None:
    batches = Batches()
    batch = sent(batches, 1, 0.0, 2.0)
    batches.expire(1.999)
    assert not batch.done.is_set()
    batches.expire(2.0)
    assert batch.done.is_set()
    assert not batches.answer(answer(batch, 0), 2.0)


def test_the_index_wraps_and_skips_what_is_out() -> None:
    batches = Batches()
    first = batches.begin(1, 0)
    assert first.index == 0
    for expected in range(1, MAX_INDEX + 1):
        batch = batches.begin(1, 0)
        assert batch.index == expected
        batches.finish(batch)
    assert batches.begin(1, 0).index == 1


def test_deadlines_come_in_order_and_skip_what_is_done() -> None:
    batches = Batches()
    late, early, answered = (sent(batches, 1, 0.0, deadline) for deadline in (3.0, 1.0, 2.0))
    assert batches.next_deadline == 1.0
    batches.answer(answer(answered, 0), 0.5)
    batches.expire(1.0)
    assert early.done.is_set()
    assert batches.next_deadline == 3.0
    batches.finish(late)
    batches.finish(late)
    assert batches.next_deadline == inf


def test_a_batch_answered_while_it_is_sent_is_complete_at_once() -> None:
    batches = Batches()
    batch = batches.begin(1, 0)
    batch.sent_at.append(0.0)
    batches.answer(answer(batch, 0), 0.1)
    batches.all_sent(batch, 2.0)
    assert batch.done.is_set()
    assert batches.next_deadline == inf


async def test_idle_is_when_nothing_is_out() -> None:
    batches = Batches()
    await batches.wait_idle()
    one, other = batches.begin(2, 0), batches.begin(1, 0)
    batches.finish(one)
    assert len(batches) == 1
    batches.abort()
    assert other.done.is_set()
    await batches.wait_idle()
    batches.all_sent(other, 2.0)
    assert batches.next_deadline == inf
