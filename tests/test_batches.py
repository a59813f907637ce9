"""Which answer belongs to which batch; deadlines; the wrap of the index."""

from __future__ import annotations

from math import inf

from hypothesis import given, strategies as st

from trio_sessions._batches import Batch, Batches
from trio_sessions._wire import MAX_INDEX, Message

A, B = "0x" + "a" * 40, "0x" + "b" * 40


def answer(batch: Batch, inner: int, timestamp: int | None = None) -> Message:
    return Message(A, B, 607, batch.size, batch.index, inner, batch.timestamp if timestamp is None else timestamp)


def sent(batches: Batches, size: int, at: float = 0.0, timestamp: int = 1) -> Batch:
    batch = batches.begin(size, timestamp)
    batch.departed(size, at)
    batches.all_sent(batch, at)
    return batch


@given(st.data())
def test_each_batch_gets_exactly_its_own_answers(data: st.DataObject) -> None:
    batches = Batches(2.0)
    out = [sent(batches, size, timestamp=i) for i, size in enumerate(data.draw(sizes))]
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
        assert batch.is_done
    assert len(batches) == 0


sizes = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def test_what_was_not_sent_cannot_be_answered() -> None:
    batches = Batches(2.0)
    batch = batches.begin(3, 7)
    batch.departed(1, 0.5)
    assert not batches.answer(answer(batch, 1), 1.0)
    assert batches.answer(answer(batch, 0), 1.0)
    outcome = batch.outcome(A, "stopped")
    assert (outcome.sent, outcome.answered, outcome.undelivered, outcome.reason) == (1, 1, 2, "stopped")
    assert outcome.rtts == (0.5,)


def test_an_echo_of_another_time_is_no_answer() -> None:
    batches = Batches(2.0)
    batch = sent(batches, 2, timestamp=7)
    assert not batches.answer(answer(batch, 0, timestamp=8), 1.0)
    assert not batches.answer(answer(batch, 2), 1.0)
    assert batch.outcome(A, "").answered == 0
    assert batch.outcome(A, "").reason is None


def test_a_late_answer_is_ignored() -> None:
    batches = Batches(2.0)
    batch = sent(batches, 1)
    batches.expire(1.999)
    assert len(batches) == 1
    batches.expire(2.0)
    assert batch.is_done
    assert not batches.answer(answer(batch, 0), 2.0)


def test_the_index_wraps_and_skips_what_is_out() -> None:
    batches = Batches(2.0)
    first = batches.begin(1, 0)
    assert first.index == 0
    for expected in range(1, MAX_INDEX + 1):
        batch = batches.begin(1, 0)
        assert batch.index == expected
        batches.finish(batch)
    assert batches.begin(1, 0).index == 1


def test_deadlines_come_in_order_and_skip_what_is_done() -> None:
    batches = Batches(2.0)
    early, answered, late = (sent(batches, 1, at) for at in (1.0, 2.0, 3.0))
    assert batches.next_deadline == 3.0
    batches.answer(answer(answered, 0), 2.5)
    batches.expire(3.0)
    assert early.is_done
    assert batches.next_deadline == 5.0
    batches.finish(late)
    batches.finish(late)
    assert batches.next_deadline == inf


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_round_trips_count_from_when_each_message_left(parts: list[int], data: st.DataObject) -> None:
    batches = Batches(100.0)
    size = sum(parts)
    batch = batches.begin(size, 0)
    left_at = []
    for number, count in enumerate(parts):
        batch.departed(count, float(number))
        left_at += [float(number)] * count
    batches.all_sent(batch, 10.0)
    inner = data.draw(st.integers(0, size - 1))
    count = data.draw(st.integers(1, size - inner))
    assert batches.answer_many(batch, inner, count, 50.0)
    assert batch.rtts == [50.0 - at for at in left_at[inner : inner + count]]


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), max_size=8), st.integers(0, 12))
def test_many_answers_are_the_same_as_each_of_them(runs: list[tuple[int, int]], left: int) -> None:
    many, single = Batches(2.0), Batches(2.0)
    one, other = many.begin(12, 0), single.begin(12, 0)
    for batch in (one, other):
        if left:
            batch.departed(left, 0.0)
    for first, count in runs:
        if one.is_done:
            break
        whole = first + count <= left
        assert many.answer_many(one, first, count, 1.0) == whole
        if whole:
            for inner in range(first, first + count):
                single.answer(answer(other, inner), 1.0)
    assert one.is_done == other.is_done
    assert one.outcome(A, "why") == other.outcome(A, "why") or one.is_done
    assert one.rtts == other.rtts


def test_who_waits_is_told_once() -> None:
    batches = Batches(2.0)
    told: list[Batch] = []
    batch = batches.begin(1, 0, told.append)
    batch.departed(1, 0.0)
    batches.all_sent(batch, 0.0)
    batches.answer(answer(batch, 0), 1.0)
    batches.finish(batch)
    batches.abort()
    assert told == [batch]


def test_a_batch_is_found_by_the_very_words_of_its_messages() -> None:
    batches = Batches(2.0)
    batch = sent(batches, 3, timestamp=77)
    assert batches.find(b"0", b"3", b"77") is batch
    for words in ((b"1", b"3", b"77"), (b"0", b"4", b"77"), (b"0", b"3", b"78"), (b"00", b"3", b"77")):
        assert batches.find(*words) is None
    batches.finish(batch)
    assert batches.find(b"0", b"3", b"77") is None


def test_a_batch_answered_while_it_is_sent_is_complete_at_once() -> None:
    batches = Batches(2.0)
    batch = batches.begin(1, 0)
    batch.departed(1, 0.0)
    batches.answer(answer(batch, 0), 0.1)
    batches.all_sent(batch, 0.1)
    assert batch.is_done
    assert batches.next_deadline == inf


def test_an_abort_ends_all_and_what_it_ended_has_no_deadline() -> None:
    batches = Batches(2.0)
    one, other = batches.begin(2, 0), batches.begin(1, 0)
    batches.finish(one)
    assert len(batches) == 1
    batches.abort()
    assert other.is_done
    assert len(batches) == 0
    batches.all_sent(other, 2.0)
    assert batches.next_deadline == inf
