"""The quick way of reading answers is the decoder's way, whatever arrives."""

from __future__ import annotations

from hypothesis import given, strategies as st

from trio_sessions._answers import Answers
from trio_sessions._batches import Batch, Batches
from trio_sessions._wire import BatchEncoder, Decoder

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

#: What may come instead of an echo: bytes of somebody else, and messages that are nearly ours.
strange = st.one_of(
    st.binary(max_size=2 * SIZE),
    st.sampled_from(
        [
            b"",
            bytes(SIZE),
            MESSAGES[0][:-1] + b"x",
            MESSAGES[0].replace(b" 0 1", b" 00 1"),
            MESSAGES[0].replace(b" 3 0 0 ", b" 4 0 0 "),
            MESSAGES[0].replace(b" 3 0 0 ", b" 3 0 3 "),
            MESSAGES[0].replace(b" 3 0 0 ", b" 3 0 -1 "),
            MESSAGES[0].replace(b" 3 0 0 ", b" 3 0 99999999999999999999 "),
            MESSAGES[0].replace(b" 3 0 0 ", b" 3 7 0 "),
            MESSAGES[0].replace(b"1700", b"1701"),
            MESSAGES[0].replace(b"0x", b"0y", 1),
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


def test_a_whole_batch_in_one_piece_is_taken_without_the_decoder() -> None:
    book = Book()
    answers = Answers(book.encoder, book.batches)
    decoded: list[bytes] = []

    class Watched(Decoder):
        def feed(self, datagram: bytes) -> list[object]:  # type: ignore[override]
            decoded.append(datagram)
            return list(super().feed(datagram))

    answers._decoder = Watched()
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
