"""The relay messages that a session carries, as bytes: pure functions of bytes, without I/O.

One message is one datagram of ``packet_size`` bytes: a header, then NUL bytes up to that size, at least one. The header
is seven fields, one space between each two::

    relayer sender packet_size batch_size index inner_index timestamp

``relayer`` and ``sender`` are ``0x`` and 40 hex digits; the others are decimal numbers. ``timestamp`` is in Unix
milliseconds. The format is that of the program that this library replaces, and each reads the other's messages.

The echo of a datagram need not be that datagram: the node and the exit may merge several, split one anywhere, and lose
a part (contract §4.3). So a receiver is a :class:`Decoder`, which reads a stream of datagrams, and not a function.
"""

from __future__ import annotations

import re

import attrs

from trio_sessions._address import check_address
from trio_sessions._errors import InvalidInputError

__all__ = [
    "MAX_DIGITS",
    "MAX_HEADER",
    "MAX_INDEX",
    "MAX_PACKET_SIZE",
    "BatchEncoder",
    "Decoder",
    "Message",
    "encode",
]

#: Bytes that the node reads of one datagram; the rest of a larger one would be cut off (contract §4.3).
MAX_PACKET_SIZE = 16384

#: The replaced program counts its batches modulo 100,000.
MAX_INDEX = 99_999

#: Digits of the longest number that is read or written: those of 2**64 - 1, far above any real value.
MAX_DIGITS = 20

#: Bytes of the longest header: two addresses, five numbers of :data:`MAX_DIGITS`, and the spaces between.
MAX_HEADER = 42 + 1 + 42 + 5 * (1 + MAX_DIGITS)

_ADDRESS = rb"0x[0-9a-fA-F]{40}"
_NUMBER = rb"[0-9]{1,%d}" % MAX_DIGITS

#: A header and its NUL. Among the bytes between two NULs it can match once: there, where their last two ``0x`` are.
_HEADER = re.compile(b" ".join(b"(%b)" % field for field in (_ADDRESS,) * 2 + (_NUMBER,) * 5) + rb"\0")
_INDEX_GROUP = 5


def _beginning() -> bytes:
    """The pattern of all that can begin a header, from its first byte to the whole of it."""
    pattern = _NUMBER
    for _ in range(4):
        pattern = rb"%b(?: (?:%b)?)?" % (_NUMBER, pattern)
    for _ in range(2):
        pattern = rb"(?:%b(?: (?:%b)?)?|0(?:x[0-9a-fA-F]{0,39})?)" % (_ADDRESS, pattern)
    return pattern


#: At the end of the data: a header that still lacks its NUL, or its beginning. The first match is the longest.
_HEADER_BEGUN = re.compile(_beginning() + rb"\Z")

#: Three numbers and two spaces that are no longer than this hold no number longer than :data:`MAX_DIGITS`.
_SHORT_ENOUGH = MAX_DIGITS + 4


@attrs.frozen
class Message:
    """The header of one relay message.

    It is not checked when it is made: :func:`encode` checks, and what a :class:`Decoder` read is for the caller to
    compare with what was sent.

    Attributes:
        relayer: the address of the peer that relays it.
        sender: the address of the node that sends it.
        packet_size: bytes of the whole message, padding included.
        batch_size: messages of its batch.
        index: of the batch, 0 to :data:`MAX_INDEX`.
        inner_index: of the message in its batch. We count from 0 to ``batch_size - 1``; the replaced program may
            count from 1.
        timestamp: when the batch was made, in Unix milliseconds.
    """

    relayer: str
    sender: str
    packet_size: int
    batch_size: int
    index: int
    inner_index: int
    timestamp: int


def encode(message: Message) -> bytes:
    """The datagram of ``message``, ``packet_size`` bytes long.

    Raises:
        InvalidInputError: the message cannot be written so that a decoder reads the same again: a field that is not of
            its form or range, or a packet size that leaves no room for the header and one NUL.
    """
    relayer = check_address(message.relayer, "relayer")
    sender = check_address(message.sender, "sender")
    packet_size = _check_number(message.packet_size, "packet size", MAX_PACKET_SIZE)
    batch_size = _check_number(message.batch_size, "batch size")
    index = _check_number(message.index, "index", MAX_INDEX)
    inner_index = _check_number(message.inner_index, "inner index")
    timestamp = _check_number(message.timestamp, "timestamp")
    header = f"{relayer} {sender} {packet_size:d} {batch_size:d} {index:d} {inner_index:d} {timestamp:d}"
    _check_fit(len(header), packet_size)
    return header.encode().ljust(packet_size, b"\0")


class BatchEncoder:
    """Makes the datagrams of whole batches for one relayer: of one batch to the next, only what changes is written.

    Raises:
        InvalidInputError: an address or the packet size is not of its form or range.
    """

    __slots__ = ("_form", "_packet_size", "_parts", "_prefix")

    def __init__(self, relayer: str, sender: str, packet_size: int) -> None:
        check_address(relayer, "relayer")
        check_address(sender, "sender")
        self._packet_size = _check_number(packet_size, "packet size", MAX_PACKET_SIZE)
        self._prefix = f"{relayer} {sender} {packet_size:d} ".encode()
        # What the latest batch was joined of, to be used again for one of the same form: the lengths of its fields.
        self._form: tuple[int, int, int] | None = None
        self._parts: list[bytes] = []

    @property
    def packet_size(self) -> int:
        """Bytes of each datagram."""
        return self._packet_size

    @property
    def prefix(self) -> bytes:
        """What every datagram begins with: relayer, sender and packet size, each with the space after it."""
        return self._prefix

    def encode(self, batch_size: int, index: int, timestamp: int) -> list[bytes]:
        """The ``batch_size`` datagrams of one batch, by inner index from 0: those that :func:`encode` would make.

        Raises:
            InvalidInputError: one of the messages cannot be written (see :func:`encode`), so none was; or the batch has
                none.
        """
        stream, size = self.stream(batch_size, index, timestamp), self._packet_size
        return [stream[start : start + size] for start in range(0, len(stream), size)]

    def stream(self, batch_size: int, index: int, timestamp: int) -> bytes:
        """The same datagrams one after the other, each of :attr:`packet_size` bytes.

        Raises:
            InvalidInputError: as :meth:`encode`.
        """
        _check_number(index, "index", MAX_INDEX)
        _check_number(timestamp, "timestamp")
        index_text, time_text = b"%d" % index, b"%d" % timestamp
        form = (batch_size, len(index_text), len(time_text))
        if form != self._form:
            self._parts = self._lay_out(*form)
            self._form = form
        parts = self._parts
        parts[1::4] = [index_text] * batch_size
        parts[3::4] = [time_text] * batch_size
        return b"".join(parts)

    def check_fit(self, batch_size: int, index: int, timestamp: int) -> None:
        """Find out whether such a batch can be written, without writing it.

        Raises:
            InvalidInputError: the packet size leaves no room for its headers.
        """
        header = b"%b%d %d %d %d" % (self._prefix, batch_size, index, batch_size - 1, timestamp)
        _check_fit(len(header), self._packet_size)

    def _lay_out(self, batch_size: int, index_digits: int, time_digits: int) -> list[bytes]:
        """The parts of a batch: a head, and for each message index, inner index, time, and all up to the next index."""
        if _check_number(batch_size, "batch size") == 0:
            raise InvalidInputError("batch size", batch_size, "must be 1 or more")
        head = b"%b%d " % (self._prefix, batch_size)
        inner = [b" %d " % number for number in range(batch_size)]
        taken = len(head) + index_digits + time_digits
        _check_fit(taken + len(inner[-1]), self._packet_size)
        # A message's padding and the next one's head: one object for all whose inner indices have as many digits.
        joints: dict[int, bytes] = {}
        parts = [head]
        for text in inner:
            joint = joints.get(len(text))
            if joint is None:
                joint = joints[len(text)] = bytes(self._packet_size - taken - len(text)) + head
            parts += (b"", text, b"", joint)
        parts[-1] = bytes(self._packet_size - taken - len(inner[-1]))
        return parts


class Decoder:
    """Reads the messages in a stream of datagrams that may be merged, split at any byte, lost, or foreign.

    A message is read as soon as its header and one NUL after it have arrived, however they were cut. Whatever came
    before (the first part of a message whose rest was lost, foreign bytes) costs no later message. So a lost datagram
    costs the messages of which it held a byte of the header, or the whole padding, and no other.

    A header must be of its form: addresses of 40 hex digits, decimal numbers of at most :data:`MAX_DIGITS` digits.
    What the numbers mean is the caller's to judge. It must: when the rest of one message and the beginning of the next
    are lost, what remains can join to a header of the right form that nobody sent. Its index, inner index and timestamp
    tell, when they are compared with what was sent.

    Every byte but NUL ends as part of a message, as unread, or (for now) as pending. The decoder never raises, and
    keeps at most :data:`MAX_HEADER` bytes from one datagram to the next.
    """

    __slots__ = ("_last_was_foreign", "_latest", "_latest_prefix", "_pending", "_unread_bytes")

    def __init__(self) -> None:
        self._pending = b""
        self._unread_bytes = 0
        self._last_was_foreign = False
        # A session's messages share their first four fields: those of the latest message, as bytes and as read.
        self._latest_prefix = b""
        self._latest: Message | None = None

    @property
    def unread_bytes(self) -> int:
        """Bytes so far, NULs excluded, that were no part of a message and can become none any more."""
        return self._unread_bytes

    @property
    def pending(self) -> int:
        """Bytes at the end of the latest datagram that can be the beginning of a header whose rest is to come.

        Foreign bytes can look like one (a datagram that ends in ``0`` does); they are pending until more bytes tell.
        """
        return len(self._pending)

    @property
    def last_was_foreign(self) -> bool:
        """Whether the latest datagram held no trace of a relay message.

        That is: it had bytes other than NUL, none of them were part of a message or became pending, and nothing was
        pending before it. In doubt it is False: for padding alone, and for what may have been meant as the rest of a
        pending header. The rest of a header whose beginning was lost is foreign.
        """
        return self._last_was_foreign

    def feed(self, datagram: bytes) -> list[Message]:
        """The messages that ``datagram`` completes, in order; often none or one."""
        latest, prefix = self._latest, self._latest_prefix
        if latest is not None and datagram.startswith(prefix) and not self._pending:
            # The fast path, more than twice as quick: just one whole message, which begins as the latest one did.
            size = datagram.find(b"\0")
            fields = datagram[len(prefix) : size].split(b" ")
            alone = 0 < size <= len(prefix) + _SHORT_ENOUGH and datagram.endswith(bytes(len(datagram) - size))
            if alone and len(fields) == 3:
                index, inner_index, timestamp = fields
                if index.isdigit() and inner_index.isdigit() and timestamp.isdigit():
                    self._last_was_foreign = False
                    return [
                        Message(
                            latest.relayer,
                            latest.sender,
                            latest.packet_size,
                            latest.batch_size,
                            int(index),
                            int(inner_index),
                            int(timestamp),
                        )
                    ]
        return self._read_any(datagram)

    def _read_any(self, datagram: bytes) -> list[Message]:
        was_pending = bool(self._pending)
        data = self._pending + datagram
        unread = len(data) - data.count(0)
        messages = []
        for header in _HEADER.finditer(data):
            relayer, sender, *numbers = header.groups()
            message = Message(relayer.decode(), sender.decode(), *map(int, numbers))
            messages.append(message)
            unread -= header.end() - 1 - header.start()
            self._latest, self._latest_prefix = message, data[header.start() : header.start(_INDEX_GROUP)]
        # Beyond the last NUL a header may have begun, but none further back than the longest header is long.
        begun = _HEADER_BEGUN.search(data, max(data.rfind(b"\0") + 1, len(data) - MAX_HEADER))
        self._pending = b"" if begun is None else begun[0]
        unread -= len(self._pending)
        self._unread_bytes += unread
        self._last_was_foreign = not messages and not was_pending and not self._pending and unread > 0
        return messages


def _check_number(value: object, what: str, highest: int = 10**MAX_DIGITS - 1) -> int:
    if not isinstance(value, int) or not 0 <= value <= highest:
        raise InvalidInputError(what, value, f"must be a whole number from 0 to {highest}")
    return value


def _check_fit(header_size: int, packet_size: int) -> None:
    if header_size >= packet_size:
        raise InvalidInputError(
            "packet size", packet_size, f"the header takes {header_size} bytes, and one more must follow"
        )
