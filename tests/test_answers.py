"""The quick way of reading answers is the decoder's way, whatever arrives."""

from __future__ import annotations

from hypothesis import given, strategies as st

from trio_sessions._answers import Answers
from trio_sessions._batches import Batch, Batches
from trio_sessions._wire import BatchEncoder, Decoder, Message

A, B = "0x" + "a" * 40, "0x" + "B" * 40
SIZE = 160
SIZES = (3, 12, 1)


class Book:
    """One session's batches, and what was sent: at most so many messages of each."""

    def __init__(self, left: int = 12) -> None:
        self.encoder = BatchEncoder(A, B, SIZE)
        self.batches = Batches(100.0)
        self.out: list[Batch] = []
        for size in SIZES:
            batch = self.batches.begin(size, 1_700_000_000_000)
            batch.departed(min(size, left), 0.0)
            if size <= left:
                self.batches.all_sent(batch, 0.0)
            self.out.append(batch)

    def sent(self) -> list[bytes]:
        return [each for b in self.out for each in self.encoder.encode(b.size, b.index, b.timestamp)]

    def account(self) -> list[tuple[int, int, bool]]:
        return [(len(batch.rtts), batch.duplicates, batch.is_done) for batch in self.out]


MESSAGES = Book().sent()


def nearly(before: bytes, after: bytes) -> bytes:
    """The first message with something else in it, as long as it was."""
    assert before in MESSAGES[0]
    return MESSAGES[0].replace(before, after, 1).ljust(SIZE, b"\0")[:SIZE]


#: What may come instead of an echo: bytes of somebody else, and messages that are nearly ours.
strange = st.one_of(
    st.binary(max_size=2 * SIZE),
    st.sampled_from(
        [
            b"",
            bytes(SIZE),
            MESSAGES[0][:-1] + b"x",
            MESSAGES[0].replace(b" 0 1", b" 00 1"),
            nearly(b" 3 0 0 ", b" 4 0 0 "),
            nearly(b" 3 0 0 ", b" 3 0 3 "),
            nearly(b" 3 0 0 ", b" 3 0 -1 "),
            nearly(b" 3 0 0 ", b" 3 0 x "),
            nearly(b" 3 0 0 ", b" 3 0 99999999999999999999 "),
            nearly(b" 3 0 0 ", b" 3 7 0 "),
            nearly(b" 3 0 0 ", b" 3 0 0 0 "),
            nearly(b" 3 0 0 ", b" 3 0 "),
            nearly(b" 3 0 0 1700000000000", b""),
            nearly(b"1700", b"1701"),
            nearly(b"0x", b"0y"),
        ]
    ),
)


@given(st.data())
def test_whatever_arrives_the_quick_way_counts_what_the_decoder_counts(data: st.DataObject) -> None:
    order = data.draw(st.lists(st.sampled_from(range(len(MESSAGES))), max_size=30))
    runs = data.draw(st.lists(st.tuples(st.integers(0, len(MESSAGES) - 1), st.integers(1, 14)), max_size=4))
    pieces = [MESSAGES[number] for number in order]
    pieces += [b"".join(MESSAGES[first : first + count]) for first, count in runs]
    pieces += data.draw(st.lists(strange, max_size=4))
    pieces = list(data.draw(st.permutations(pieces)))
    if data.draw(st.booleans()) and pieces:
        # Merge two, and split what comes of it anywhere.
        at = data.draw(st.integers(0, len(pieces) - 1))
        merged = b"".join(pieces[at : at + 2])
        cut = data.draw(st.integers(0, len(merged)))
        pieces[at : at + 2] = [merged[:cut], merged[cut:]]
    burst = data.draw(st.integers(1, 10))
    left = data.draw(st.sampled_from([12, 11, 1]))
    quick, plain = Book(left), Book(left)
    answers, decoder = Answers(quick.encoder, quick.batches), Decoder()
    for number, piece in enumerate(pieces):
        ours = answers.take(piece, 1.0)
        for message in decoder.feed(piece):
            plain.batches.answer(message, 1.0)
        assert ours == (not decoder.last_was_foreign)
        assert answers.unread_bytes == decoder.unread_bytes
        if number % burst == 0 or number == len(pieces) - 1:
            answers.flush(1.0)
            assert quick.account() == plain.account()


def test_nothing_is_kept_of_a_batch_that_is_over() -> None:
    book = Book()
    answers = Answers(book.encoder, book.batches)
    assert answers.take(MESSAGES[0], 0.5)
    answers.flush(0.5)
    assert answers._sent
    assert answers.take(MESSAGES[1] + MESSAGES[2], 0.5)
    answers.flush(0.5)
    assert not answers._sent
    # Nor does one that ends in another way take what comes after that.
    batch = book.out[1]
    assert answers.take(MESSAGES[3], 0.5)
    book.batches.finish(batch)
    answers.flush(0.5)
    assert (batch.rtts, answers._sent) == ([], b"")


class Watched(Decoder):
    """Remembers what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[bytes] = []

    def feed(self, datagram: bytes) -> list[Message]:
        self.given.append(datagram)
        return super().feed(datagram)


def watched(book: Book) -> tuple[Answers, list[bytes]]:
    answers = Answers(book.encoder, book.batches)
    answers._decoder = decoder = Watched()
    return answers, decoder.given


def test_a_whole_batch_in_one_piece_is_taken_without_the_decoder() -> None:
    book = Book()
    answers, decoded = watched(book)
    batch = book.out[1]
    assert answers.take(book.encoder.stream(batch.size, batch.index, batch.timestamp), 0.5)
    answers.flush(0.5)
    assert batch.is_done
    assert batch.rtts == [0.5] * 12
    # Two batches put together, too, and single messages.
    assert answers.take(MESSAGES[0] + MESSAGES[-1], 0.5)
    assert answers.take(MESSAGES[1], 0.5)
    assert answers.take(MESSAGES[2], 0.5)
    answers.flush(0.5)
    assert all(each.is_done for each in book.out)
    assert decoded == []


def test_a_run_is_accounted_for_as_a_whole() -> None:
    book = Book()
    answers = Answers(book.encoder, book.batches)
    batch = book.out[1]
    for now, piece in enumerate((MESSAGES[3] + MESSAGES[4], MESSAGES[5], MESSAGES[6] + MESSAGES[7])):
        assert answers.take(piece, float(now))
        assert batch.rtts == []
    answers.flush(3.0)
    assert batch.rtts == [3.0] * 5


def test_a_part_of_a_message_goes_to_the_decoder_even_if_it_is_the_next_one() -> None:
    book = Book()
    answers, decoded = watched(book)
    assert answers.take(MESSAGES[3], 0.5)
    assert answers.take(MESSAGES[4][:-1], 0.5)
    answers.flush(0.5)
    # Its header is whole, so it is an answer, though its last byte may never come.
    assert len(book.out[1].rtts) == 2
    assert decoded == [MESSAGES[4][:-1]]
    assert answers.take(MESSAGES[5] + b"foreign", 0.5)
    assert answers.unread_bytes == len(b"foreign")


def test_what_follows_the_first_half_of_a_message_goes_to_the_decoder() -> None:
    book = Book()
    answers, _ = watched(book)
    assert answers.take(MESSAGES[0][:90], 0.5)
    assert answers.take(MESSAGES[3], 0.5)
    # Too late: between the halves of a message there is nothing else.
    answers.take(MESSAGES[0][90:], 0.5)
    answers.flush(0.5)
    assert book.account() == [(0, 0, False), (1, 0, False), (0, 0, False)]


def test_a_message_that_was_not_sent_yet_costs_the_others_nothing() -> None:
    for left, first in ((2, 1), (2, 0), (1, 0), (1, 1), (1, 2)):
        book = Book(left)
        answers = Answers(book.encoder, book.batches)
        batch = book.out[0]
        for number in range(first, 3):
            assert answers.take(MESSAGES[number], 1.0)
        answers.flush(1.0)
        assert len(batch.rtts) == max(0, left - first)
        assert batch.is_done == (left - first == 3)


def test_another_batch_that_ends_takes_nothing_away() -> None:
    book = Book()
    answers = Answers(book.encoder, book.batches)
    assert answers.take(MESSAGES[3], 0.5)
    answers.forget(book.out[0])
    answers.flush(0.5)
    assert book.out[1].rtts == [0.5]
    assert answers.take(MESSAGES[4], 0.5)
    answers.forget(book.out[1])
    answers.flush(0.5)
    assert book.out[1].rtts == [0.5]


def test_what_was_sent_is_written_once_for_all_that_is_compared_with_it() -> None:
    book = Book()
    answers = Answers(book.encoder, book.batches)
    assert answers.take(MESSAGES[3], 0.5)
    written = answers._sent
    assert answers.take(MESSAGES[6], 0.5)
    assert answers._sent is written
    # Not even once while the batch has it.
    book.out[0].stream = kept = b"".join(MESSAGES[:3])
    assert answers.take(MESSAGES[1], 0.5)
    assert answers._sent is kept


def test_the_quick_way_is_for_numbers_as_they_are_in_use() -> None:
    encoder, batches = BatchEncoder(A, B, SIZE), Batches(100.0)
    batches._next_index = 99_999
    batch = batches.begin(10_001, 1_700_000_000_000)
    batch.departed(10_001, 0.0)
    answers = Answers(encoder, batches)
    answers._decoder = decoder = Watched()
    sent = encoder.encode(10_001, batch.index, batch.timestamp)
    for number in (7, 1000, 9999, 999, 10_000):
        assert answers.take(sent[number], 1.0)
    answers.flush(1.0)
    assert len(batch.rtts) == 5
    # An inner index may be anything in a stranger's message: of many digits it is not even looked at.
    assert decoder.given == [sent[10_000]]
