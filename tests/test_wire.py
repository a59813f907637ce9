"""The relay message format: what is written, what is read of it, and what a decoder makes of everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings, strategies as st

from trio_sessions._errors import InvalidInputError
from trio_sessions._wire import (
    MAX_DIGITS,
    MAX_HEADER,
    MAX_INDEX,
    MAX_PACKET_SIZE,
    BatchEncoder,
    Decoder,
    Message,
    encode,
)

RELAYER = "0x" + "aB" * 20
SENDER = "0x" + "c1" * 20
LARGEST = 10**MAX_DIGITS - 1

HELLO = Message(RELAYER, SENDER, 200, 10, 42, 7, 1_700_000_000_123)
HELLO_HEADER = f"{RELAYER} {SENDER} 200 10 42 7 1700000000123".encode()

# Without a deadline: a busy machine must not fail a property for being slow.
properties = settings(deadline=None, max_examples=100)

# -- strategies -------------------------------------------------------------------------------------------------------

addresses = st.builds(
    lambda value, case: "0x" + case(f"{value:040x}"),
    st.integers(0, 16**40 - 1),
    st.sampled_from([str.lower, str.upper]),
)
numbers = st.integers(0, 12) | st.integers(0, LARGEST)
messages = st.builds(
    Message,
    relayer=addresses,
    sender=addresses,
    packet_size=st.integers(MAX_HEADER + 1, MAX_HEADER + 40) | st.just(607) | st.just(MAX_PACKET_SIZE),
    batch_size=numbers,
    index=st.integers(0, MAX_INDEX),
    inner_index=numbers,
    timestamp=st.integers(1_600_000_000_000, 1_900_000_000_000) | numbers,
)
#: Messages as one session has them: the first four fields are the same, and the sizes small.
session_messages = st.lists(
    st.builds(
        Message,
        relayer=st.just(RELAYER),
        sender=st.just(SENDER),
        packet_size=st.just(140),
        batch_size=st.sampled_from([10, 10, 10, 11]),
        index=st.integers(0, MAX_INDEX),
        inner_index=st.integers(0, 10),
        timestamp=st.integers(1_600_000_000_000, 1_900_000_000_000),
    ),
    max_size=6,
)
#: Bytes without NUL that can neither begin a header nor be a part of one.
foreign = st.binary(max_size=60).map(lambda data: data.translate(None, b"\0 0123456789abcdefABCDEFx") + b"?")

#: Bytes much like relay messages, whole and maimed: where a decoder could go wrong.
crumbs = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"0x", b"0", b"x", b" ", b"\0", b"\0\0", b"00x", b"9" * 21, b" 0x", b"0x0x", b"%d" % LARGEST]),
    st.sampled_from([RELAYER.encode(), SENDER.encode(), HELLO_HEADER, HELLO_HEADER + b"\0", encode(HELLO)]),
    st.integers(0, len(HELLO_HEADER)).map(lambda at: HELLO_HEADER[:at]),
    st.integers(0, len(HELLO_HEADER)).map(lambda at: HELLO_HEADER[at:]),
)
rubble = st.lists(crumbs, max_size=12).map(b"".join)


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """``stream`` in pieces, cut at every place (modulo its size)."""
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


places = st.lists(st.integers(0, 2**16), max_size=12)


def read(datagrams: Iterable[bytes], decoder: Decoder | None = None) -> list[Message]:
    decoder = decoder or Decoder()
    return [message for datagram in datagrams for message in decoder.feed(datagram)]


# -- an implementation of the format that shares nothing with ours: that of the replaced program, as described ---------


def old_write(message: Message) -> bytes:
    return " ".join(str(value) for value in attrs.astuple(message)).encode().ljust(message.packet_size, b"\0")


def old_read(datagram: bytes) -> list[Message]:
    read = []
    for piece in datagram.decode().split("\0"):
        if piece:
            relayer, sender, *rest = piece.split(" ")
            packet_size, batch_size, index, inner_index, timestamp = map(int, rest)
            read.append(Message(relayer, sender, packet_size, batch_size, index, inner_index, timestamp))
    return read


def is_header(run: bytes) -> bool:
    fields = run.split(b" ")
    return (
        len(fields) == 7
        and all(re.fullmatch(rb"0x[0-9a-fA-F]{40}", field) for field in fields[:2])
        and all(field.isdigit() and len(field) <= MAX_DIGITS for field in fields[2:])
    )


def slow_read(stream: bytes) -> tuple[list[Message], int]:
    """The messages of a stream, and how many bytes are no part of one, by trying every place."""
    *ended, _ = stream.split(b"\0")
    headers = [run[at:] for run in ended for at in range(len(run)) if is_header(run[at:])]
    return [old_read(header)[0] for header in headers], len(stream) - stream.count(0) - sum(map(len, headers))


def slow_pending(stream: bytes) -> int:
    """How many bytes at the end of a stream can begin a header: those that some rest completes."""
    some_header = [b"0x" + b"0" * 40] * 2 + [b"0"] * 5
    tail = stream.split(b"\0")[-1]
    for at in range(len(tail)):
        *whole, cut = tail[at:].split(b" ")
        lacking = some_header[len(whole) :]
        if lacking and is_header(b" ".join([*whole, cut + lacking[0][len(cut) :], *lacking[1:]])):
            return len(tail) - at
    return 0


def test_the_limits() -> None:
    assert (MAX_PACKET_SIZE, MAX_INDEX, MAX_DIGITS, MAX_HEADER) == (16384, 99_999, 20, 190)


# -- writing ----------------------------------------------------------------------------------------------------------


def test_exact_bytes() -> None:
    message = Message(
        relayer="0x00112233445566778899aabbccddeeff00112233",
        sender="0xFFEEDDCCBBAA99887766554433221100FFEEDDCC",
        packet_size=128,
        batch_size=10,
        index=99999,
        inner_index=0,
        timestamp=1700000000123,
    )
    assert encode(message) == (
        b"0x00112233445566778899aabbccddeeff00112233 0xFFEEDDCCBBAA99887766554433221100FFEEDDCC"
        b" 128 10 99999 0 1700000000123" + 14 * b"\0"
    )


@properties
@given(messages)
def test_what_is_written_is_read(message: Message) -> None:
    datagram = encode(message)
    assert len(datagram) == message.packet_size
    decoder = Decoder()
    assert decoder.feed(datagram) == [message]
    assert (decoder.unread_bytes, decoder.pending, decoder.last_was_foreign) == (0, 0, False)


def test_a_message_is_a_frozen_record_without_a_dict() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        HELLO.index = 1  # type: ignore[misc]
    assert not hasattr(HELLO, "__dict__")
    assert not hasattr(Decoder(), "__dict__")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        pytest.param({"relayer": "0x12"}, "relayer", id="short relayer"),
        pytest.param({"relayer": RELAYER + "0"}, "relayer", id="long relayer"),
        pytest.param({"relayer": RELAYER[:-1] + "g"}, "relayer", id="no hex"),
        pytest.param({"sender": RELAYER[2:]}, "sender", id="sender without 0x"),
        pytest.param({"sender": SENDER[:-1] + "\0"}, "sender", id="NUL in the sender"),
        pytest.param({"packet_size": -1}, "packet size", id="negative packet size"),
        pytest.param({"packet_size": MAX_PACKET_SIZE + 1}, "packet size", id="larger than the node reads"),
        pytest.param({"packet_size": len(HELLO_HEADER)}, "packet size", id="no room for a NUL"),
        pytest.param({"packet_size": 0}, "packet size", id="no room at all"),
        pytest.param({"batch_size": -1}, "batch size", id="negative batch size"),
        pytest.param({"batch_size": LARGEST + 1}, "batch size", id="too many digits"),
        pytest.param({"index": -1}, "index", id="negative index"),
        pytest.param({"index": MAX_INDEX + 1}, "index", id="index out of range"),
        pytest.param({"inner_index": -1}, "inner index", id="negative inner index"),
        pytest.param({"inner_index": LARGEST + 1}, "inner index", id="inner index of too many digits"),
        pytest.param({"timestamp": -1}, "timestamp", id="negative timestamp"),
        pytest.param({"timestamp": LARGEST + 1}, "timestamp", id="timestamp of too many digits"),
        pytest.param({"timestamp": 1.7e12}, "timestamp", id="timestamp with a fraction"),
        pytest.param({"index": "1"}, "index", id="text for a number"),
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any], what: str) -> None:
    message = attrs.evolve(HELLO, **changes)
    with pytest.raises(InvalidInputError) as caught:
        encode(message)
    assert caught.value.what == what
    assert caught.value.value == next(iter(changes.values()))


def test_a_refusal_says_how_much_room_the_header_takes() -> None:
    with pytest.raises(InvalidInputError, match=f"^packet size 100: the header takes {len(HELLO_HEADER)} bytes"):
        encode(attrs.evolve(HELLO, packet_size=100))
    with pytest.raises(InvalidInputError, match=r"^index 100000: must be a whole number from 0 to 99999$"):
        encode(attrs.evolve(HELLO, index=100_000))


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(attrs.evolve(HELLO, packet_size=len(HELLO_HEADER) + 1), id="room for one NUL"),
        pytest.param(attrs.evolve(HELLO, packet_size=MAX_PACKET_SIZE), id="largest packet"),
        pytest.param(Message(RELAYER, SENDER, 0xFF, LARGEST, MAX_INDEX, LARGEST, LARGEST), id="largest numbers"),
        pytest.param(Message(RELAYER, SENDER, 0xFF, 0, 0, 0, 0), id="smallest numbers"),
        pytest.param(attrs.evolve(HELLO, inner_index=10), id="inner index counted from 1"),
    ],
)
def test_the_bounds_themselves_can_be_written(message: Message) -> None:
    assert Decoder().feed(encode(message)) == [message]


def test_the_longest_header_is_as_long_as_said() -> None:
    header = b"%b %b" % (RELAYER.encode(), SENDER.encode()) + 5 * (b" %d" % LARGEST)
    assert len(header) == MAX_HEADER
    decoder = Decoder()
    assert decoder.feed(header) == []
    assert decoder.pending == MAX_HEADER
    assert len(decoder.feed(b"\0")) == 1
    assert decoder.feed(header + b"9") == []
    assert decoder.pending == 0


# -- writing batches --------------------------------------------------------------------------------------------------


@properties
@given(
    relayer=addresses,
    sender=addresses,
    packet_size=st.integers(MAX_HEADER + 1, MAX_PACKET_SIZE),
    batch_size=st.sampled_from([1, 2, 9, 10, 11, 99, 100, 101]),
    index=st.integers(0, MAX_INDEX),
    timestamp=numbers,
)
@example(RELAYER, SENDER, 256, 1001, 0, 1_700_000_000_000)
def test_a_batch_is_its_messages_encoded_one_by_one(
    relayer: str, sender: str, packet_size: int, batch_size: int, index: int, timestamp: int
) -> None:
    assert BatchEncoder(relayer, sender, packet_size).encode(batch_size, index, timestamp) == [
        encode(Message(relayer, sender, packet_size, batch_size, index, inner_index, timestamp))
        for inner_index in range(batch_size)
    ]


def test_one_batch_does_not_change_the_next() -> None:
    encoder = BatchEncoder(RELAYER, SENDER, 200)
    first = encoder.encode(12, 1, 5)
    assert encoder.encode(3, 99_999, 77) != first
    assert encoder.encode(12, 1, 5) == first


@pytest.mark.parametrize(
    ("relayer", "sender", "packet_size", "what"),
    [
        pytest.param("0x1", SENDER, 607, "relayer", id="relayer"),
        pytest.param(RELAYER, "0x1", 607, "sender", id="sender"),
        pytest.param(RELAYER, SENDER, MAX_PACKET_SIZE + 1, "packet size", id="packet size"),
        pytest.param(RELAYER, SENDER, -1, "packet size", id="negative packet size"),
    ],
)
def test_a_batch_encoder_refuses_what_no_message_can_have(
    relayer: str, sender: str, packet_size: int, what: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        BatchEncoder(relayer, sender, packet_size)
    assert caught.value.what == what


@pytest.mark.parametrize(
    ("batch_size", "index", "timestamp", "what"),
    [
        pytest.param(0, 0, 0, "batch size", id="empty batch"),
        pytest.param(-1, 0, 0, "batch size", id="negative batch"),
        pytest.param(1, MAX_INDEX + 1, 0, "index", id="index"),
        pytest.param(1, 0, -1, "timestamp", id="timestamp"),
        pytest.param(1, 0, LARGEST + 1, "timestamp", id="timestamp of too many digits"),
    ],
)
def test_a_batch_that_cannot_be_written_is_refused(batch_size: int, index: int, timestamp: int, what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        BatchEncoder(RELAYER, SENDER, 607).encode(batch_size, index, timestamp)
    assert caught.value.what == what


@pytest.mark.parametrize("batch_size", [1, 10, 11, 100, 101])
def test_a_batch_fits_where_its_longest_message_leaves_room_for_a_nul(batch_size: int) -> None:
    longest = len(f"{RELAYER} {SENDER} 123 {batch_size} 42 {batch_size - 1} 1700000000123")
    with pytest.raises(InvalidInputError, match=f"header takes {longest} bytes"):
        BatchEncoder(RELAYER, SENDER, longest).check_fit(batch_size, 42, 1_700_000_000_123)
    enough = BatchEncoder(RELAYER, SENDER, longest + 1)
    enough.check_fit(batch_size, 42, 1_700_000_000_123)
    assert len(enough.encode(batch_size, 42, 1_700_000_000_123)) == batch_size


def test_a_batch_like_the_one_before_is_made_of_the_same_parts() -> None:
    encoder = BatchEncoder(RELAYER, SENDER, 1000)
    encoder.encode(500, 42, 1_700_000_000_123)
    parts = encoder._parts
    encoder.encode(500, 43, 1_700_000_000_124)
    assert encoder._parts is parts
    # Of a thousand paddings, only those of different lengths are kept.
    assert sum(len(part) for part in {id(part): part for part in parts}.values()) < 10_000
    encoder.encode(500, 143, 1_700_000_000_124)
    assert encoder._parts is not parts


@pytest.mark.parametrize("batch_size", [10, 11])
def test_a_batch_is_refused_whole_when_its_longest_message_does_not_fit(batch_size: int) -> None:
    longest = f"{RELAYER} {SENDER} 118 {batch_size} 42 {batch_size - 1} 1700000000123"
    fits = BatchEncoder(RELAYER, SENDER, len(longest) + 1).encode(batch_size, 42, 1_700_000_000_123)
    assert fits[-1] == longest.replace(" 118 ", f" {len(longest) + 1} ").encode() + b"\0"
    with pytest.raises(InvalidInputError, match=f"^packet size {len(longest)}: the header takes {len(longest)} bytes"):
        BatchEncoder(RELAYER, SENDER, len(longest)).encode(batch_size, 42, 1_700_000_000_123)


# -- reading and writing with the replaced program --------------------------------------------------------------------


@properties
@given(messages)
def test_the_replaced_program_reads_ours_and_we_read_its(message: Message) -> None:
    assert old_read(encode(message)) == [message]
    assert old_write(message) == encode(message)
    assert Decoder().feed(old_write(message)) == [message]


@properties
@given(session_messages)
def test_the_replaced_program_reads_our_messages_merged(sent: list[Message]) -> None:
    assert old_read(b"".join(map(encode, sent))) == sent


def test_numbers_are_left_to_the_caller() -> None:
    """Also those that we would never write: the format allows them."""
    header = f"{RELAYER} {SENDER} 0 00 123456789 010 0".encode()
    assert Decoder().feed(header + b"\0") == [Message(RELAYER, SENDER, 0, 0, 123_456_789, 10, 0)]


# -- merged and split -------------------------------------------------------------------------------------------------


@properties
@given(session_messages, places)
def test_messages_merged_and_split_anywhere_are_read_as_sent(sent: list[Message], where: list[int]) -> None:
    decoder = Decoder()
    assert read(cut(b"".join(map(encode, sent)), where), decoder) == sent
    assert (decoder.unread_bytes, decoder.pending) == (0, 0)


@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
def test_a_message_cut_at_each_place_is_read_with_its_first_nul(warm: bool) -> None:
    datagram = encode(HELLO)
    for place in range(1, len(datagram)):
        decoder = Decoder()
        if warm:
            decoder.feed(datagram)
        ended = place > len(HELLO_HEADER)
        assert decoder.feed(datagram[:place]) == [HELLO] * ended
        assert decoder.pending == (0 if ended else place)
        assert not decoder.last_was_foreign
        assert decoder.feed(datagram[place:]) == [HELLO] * (not ended)
        assert decoder.pending == decoder.unread_bytes == 0
        assert not decoder.last_was_foreign


def test_one_byte_a_datagram() -> None:
    stream = encode(HELLO) * 3
    assert read([bytes([byte]) for byte in stream]) == [HELLO] * 3


@properties
@given(rubble, places)
def test_any_bytes_are_read_alike_however_they_are_cut(stream: bytes, where: list[int]) -> None:
    """Messages, unread and pending bytes: all three are those of the stream, not of its datagrams."""
    whole, parts = Decoder(), Decoder()
    assert read(cut(stream, where), parts) == whole.feed(stream)
    assert parts.unread_bytes == whole.unread_bytes
    assert parts.pending == whole.pending


@properties
@given(rubble)
def test_exactly_the_well_formed_headers_are_read(stream: bytes) -> None:
    decoder = Decoder()
    found, unread = slow_read(stream)
    assert decoder.feed(stream) == found
    assert decoder.unread_bytes + decoder.pending == unread


@properties
@given(rubble)
@example(HELLO_HEADER)
@example(HELLO_HEADER + b" ")
@example(HELLO_HEADER + b" 1")
@example(b"0x" + RELAYER.encode() + b"0")
def test_pending_is_the_longest_end_that_some_rest_makes_a_header(stream: bytes) -> None:
    decoder = Decoder()
    decoder.feed(stream)
    assert decoder.pending == slow_pending(stream)


@properties
@given(rubble | st.integers(0, 199).map(lambda at: encode(HELLO)[:at] + b"7" + encode(HELLO)[at + 1 :]))
@example(HELLO_HEADER + b"9" * 7 + b"\0")
@example(HELLO_HEADER + b"9" * 8 + b"\0")
@example(HELLO_HEADER.replace(b"42 7 1700000000123", b"4" * 20 + b" 1 1\0"))
@example(HELLO_HEADER.replace(b"42 7 1700000000123", b"4" * 21 + b" 1 1\0"))
@example(HELLO_HEADER.replace(b"42 7 1700000000123", b"1 1 " + b"4" * 21 + b"\0"))
@example(HELLO_HEADER + b"\0 ")
@example(HELLO_HEADER + b" \0")
@example(HELLO_HEADER.replace(b" 7 ", b" -7 ") + b"\0")
@example(HELLO_HEADER.replace(b" 7 ", b" 7_7 ") + b"\0")
@example(HELLO_HEADER.replace(b" 7 ", b"  ") + b"\0")
@example(HELLO_HEADER.replace(b" 42 ", b" 4a ") + b"\0")
@example(HELLO_HEADER.replace(b" 42 ", b"  ") + b"\0")
@example(HELLO_HEADER[:-1] + b"a\0")
@example(HELLO_HEADER[:-2] + b"_1\0")
@example(HELLO_HEADER[:-13] + b"\0")
@example(HELLO_HEADER.replace(b" 42 ", b" " + b"4" * 21 + b" ") + b"\0")
def test_what_was_read_before_does_not_change_what_is_read(datagram: bytes) -> None:
    """The fast path, which a decoder takes once it has read a message, is only that."""
    fresh, warm = Decoder(), Decoder()
    warm.feed(encode(HELLO))
    assert warm.feed(datagram) == fresh.feed(datagram)
    assert warm.unread_bytes == fresh.unread_bytes
    assert warm.pending == fresh.pending
    assert warm.last_was_foreign == fresh.last_was_foreign


def test_other_fields_than_those_of_the_message_before_are_read() -> None:
    other = Message(SENDER, RELAYER, 300, 11, 43, 8, 1_700_000_000_456)
    decoder = Decoder()
    for message in (HELLO, attrs.evolve(HELLO, index=43, inner_index=100, timestamp=1), other, HELLO, other, other):
        assert decoder.feed(encode(message)) == [message]


@pytest.mark.parametrize("rest", ["1 2 " + "3" * 21, "1 " + "2" * 21 + " 3", "1" * 21 + " 2 3"])
def test_a_number_that_is_too_long_is_none_after_a_message_of_the_same_session(rest: str) -> None:
    decoder = Decoder()
    assert decoder.feed(encode(HELLO)) == [HELLO]
    datagram = f"{RELAYER} {SENDER} 200 10 {rest}".encode().ljust(200, b"\0")
    assert decoder.feed(datagram) == []
    assert decoder.unread_bytes == len(datagram.rstrip(b"\0"))


def test_what_the_next_message_is_compared_with_begins_with_the_message() -> None:
    decoder = Decoder()
    assert decoder.feed(b"foreign\0" + encode(HELLO)) == [HELLO]
    assert decoder._latest_prefix == f"{RELAYER} {SENDER} 200 10 ".encode()


def test_messages_of_one_session_share_what_they_have_in_common() -> None:
    """Shows that the fast path is taken; and ten thousand messages hold each address once."""
    decoder = Decoder()
    (one,), (other,) = decoder.feed(encode(HELLO)), decoder.feed(encode(attrs.evolve(HELLO, inner_index=8)))
    assert other.relayer is one.relayer
    assert other.sender is one.sender


# -- foreign bytes ----------------------------------------------------------------------------------------------------


@properties
@given(st.lists(st.tuples(foreign, session_messages), min_size=1, max_size=4), foreign)
def test_foreign_datagrams_are_counted_to_the_byte_and_disturb_nothing(
    parts: list[tuple[bytes, list[Message]]], last: bytes
) -> None:
    decoder = Decoder()
    for strange, sent in [*parts, (last, [])]:
        before = decoder.unread_bytes
        assert decoder.feed(strange) == []
        assert decoder.last_was_foreign
        assert decoder.pending == 0
        assert decoder.unread_bytes == before + len(strange)
        assert read(map(encode, sent), decoder) == sent
        assert decoder.unread_bytes == before + len(strange)
        assert not (sent and decoder.last_was_foreign)


@properties
@given(foreign, session_messages, foreign, places)
def test_foreign_bytes_merged_with_messages_are_unread(
    before: bytes, sent: list[Message], after: bytes, where: list[int]
) -> None:
    decoder = Decoder()
    assert read(cut(before + b"".join(map(encode, sent)) + after, where), decoder) == sent
    assert decoder.unread_bytes == len(before) + len(after)
    assert decoder.pending == 0


@pytest.mark.parametrize(
    ("before", "datagram", "foreign", "pending"),
    [
        pytest.param(b"", b"", False, 0, id="empty"),
        pytest.param(b"", b"\0\0\0", False, 0, id="padding alone may be the rest of a message"),
        pytest.param(b"", b"hello", True, 0, id="text"),
        pytest.param(b"", b"hello\0\0", True, 0, id="text that ends in NUL"),
        pytest.param(b"", b"\0hello", True, 0, id="text after NUL"),
        pytest.param(b"", HELLO_HEADER[20:] + b"\0", True, 0, id="rest of a header without its beginning"),
        pytest.param(b"", b"hello 0", False, 1, id="0 at the end"),
        pytest.param(b"", b"hello 0x12 0x", False, 2, id="0x at the end"),
        pytest.param(b"", b"hello 0x12", False, 4, id="0x and digits at the end"),
        pytest.param(HELLO_HEADER[:70], b"hello", False, 0, id="text when a header is pending"),
        pytest.param(HELLO_HEADER[:70], b"", False, 70, id="empty when a header is pending"),
        pytest.param(HELLO_HEADER[:70], b"\0", False, 0, id="NUL when a header is pending"),
        pytest.param(b"hello", b"hello", True, 0, id="text after text"),
        pytest.param(b"hello", encode(HELLO), False, 0, id="a message after text"),
    ],
)
def test_foreign_is_a_datagram_without_a_trace_of_a_message(
    before: bytes, datagram: bytes, foreign: bool, pending: int
) -> None:
    decoder = Decoder()
    decoder.feed(before)
    decoder.feed(datagram)
    assert decoder.last_was_foreign is foreign
    assert decoder.pending == pending


def test_a_fresh_decoder_has_read_nothing() -> None:
    decoder = Decoder()
    assert (decoder.unread_bytes, decoder.pending, decoder.last_was_foreign) == (0, 0, False)


def test_foreign_is_said_of_the_latest_datagram_only() -> None:
    decoder = Decoder()
    seen = []
    for datagram in (encode(HELLO), b"hello", encode(HELLO), b"hello", b"\0", b"hello"):
        decoder.feed(datagram)
        seen.append(decoder.last_was_foreign)
    assert seen == [False, True, False, True, False, True]


# -- lost -------------------------------------------------------------------------------------------------------------


@properties
@given(session_messages.filter(bool), places, st.data())
def test_a_lost_datagram_costs_only_the_messages_that_it_touches(
    sent: list[Message], where: list[int], data: st.DataObject
) -> None:
    """Every message is read whose header and one NUL came through.

    What is read besides was glued of two headers, at most once for each gap.
    """
    datagrams = cut(b"".join(map(encode, sent)), where)
    lost = data.draw(st.sets(st.integers(0, len(datagrams) - 1), max_size=3))
    kept = bytearray()  # for each byte of the stream, whether it arrived
    for at, datagram in enumerate(datagrams):
        kept += bytes([at not in lost]) * len(datagram)

    def arrived(position: int) -> bool:
        start = position * 140
        header = len(encode(sent[position]).rstrip(b"\0"))
        return all(kept[start : start + header]) and any(kept[start + header : start + 140])

    due = [message for position, message in enumerate(sent) if arrived(position)]
    decoder = Decoder()
    came = read((datagram for at, datagram in enumerate(datagrams) if at not in lost), decoder)
    later = iter(came)
    assert all(message in later for message in due), "all that is due came, and in order"
    assert len(came) - len(due) <= len(lost)
    assert decoder.pending <= MAX_HEADER


@pytest.mark.parametrize("warm", [False, True], ids=["first", "later"])
def test_a_header_whose_rest_never_comes_does_not_spoil_the_next_message(warm: bool) -> None:
    datagram = encode(HELLO)
    for size in range(1, len(HELLO_HEADER) + 1):
        decoder = Decoder()
        if warm:
            decoder.feed(datagram)
        decoder.feed(datagram[:size])
        assert decoder.feed(datagram) == [HELLO]
        assert (decoder.unread_bytes, decoder.pending) == (size, 0)
        assert decoder.feed(datagram) == [HELLO]


def test_a_rest_whose_header_never_came_does_not_spoil_the_next_message() -> None:
    datagram = encode(HELLO)
    for at in range(1, len(datagram)):
        decoder = Decoder()
        assert decoder.feed(datagram[at:]) == []
        assert decoder.pending == 0
        assert decoder.unread_bytes == max(0, len(HELLO_HEADER) - at)
        assert decoder.feed(datagram) == [HELLO]


def test_a_header_that_no_nul_ends_is_not_read() -> None:
    """Its last number may go on in what was lost."""
    decoder = Decoder()
    assert decoder.feed(HELLO_HEADER) == []
    assert decoder.feed(encode(HELLO)) == [HELLO]
    assert decoder.unread_bytes == len(HELLO_HEADER)


def test_glued_halves_are_told_by_what_was_sent() -> None:
    """The one forgery that the form cannot tell; index, inner index and timestamp do."""
    first = encode(attrs.evolve(HELLO, inner_index=1, timestamp=1_700_000_000_111))
    second = encode(attrs.evolve(HELLO, inner_index=2, timestamp=1_700_000_000_222))
    middle = len(HELLO_HEADER) - 12  # within the timestamp
    decoder = Decoder()
    assert read([first[:middle], second[middle:]], decoder) == [
        attrs.evolve(HELLO, inner_index=1, timestamp=1_700_000_000_222)
    ]


# -- anything at all --------------------------------------------------------------------------------------------------


@properties
@given(st.lists(st.binary(max_size=300) | rubble, max_size=5))
def test_any_datagrams_leave_every_byte_accounted_for_and_little_kept(datagrams: Sequence[bytes]) -> None:
    decoder = Decoder()
    for datagram in datagrams:
        unread, pending = decoder.unread_bytes, decoder.pending
        found = decoder.feed(datagram)
        assert decoder.unread_bytes >= unread
        assert decoder.pending <= min(MAX_HEADER, pending + len(datagram))
        if decoder.last_was_foreign:
            assert not found
            assert decoder.pending == pending == 0
            assert decoder.unread_bytes == unread + len(datagram) - datagram.count(0)
    assert decoder.unread_bytes + decoder.pending == slow_read(b"".join(datagrams))[1]


@pytest.mark.parametrize(
    "flood",
    [b"0", b"0x", b"x", b" ", b"1 ", HELLO_HEADER, HELLO_HEADER[:90], RELAYER.encode() + b" "],
    ids=["0", "0x", "x", "space", "numbers", "headers", "beginnings", "addresses"],
)
def test_a_flood_without_nul_is_not_kept(flood: bytes) -> None:
    decoder = Decoder()
    size = 0
    for _ in range(20):
        datagram = (flood * MAX_PACKET_SIZE)[:MAX_PACKET_SIZE]
        size += len(datagram)
        assert decoder.feed(datagram) == []
        assert decoder.pending <= MAX_HEADER
        assert decoder.unread_bytes + decoder.pending == size
    assert decoder.feed(b"\0" + encode(HELLO)) == [HELLO]
