"""Looks at the list: how old one may be that was fetched for somebody else, and what was listed lately."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from trio_sessions import Hoprd, Listener, ListenerKey
from trio_sessions._listing import Lookup

DESTINATION = "0x" + "12" * 20


def listener(port: int, client: str = "a") -> Listener:
    return Listener(ListenerKey("udp", "127.0.0.1", port), DESTINATION, "#0", None, None, 1002, 395, (client,))


class _Node(Hoprd):
    """Lists what it is told to."""

    def __init__(self) -> None:
        super().__init__("http://node.invalid")
        self.listeners: list[Listener] = []
        self.calls = 0

    async def list_sessions(self, *_: object, **__: object) -> tuple[Listener, ...]:
        await trio.sleep(0.1)
        self.calls += 1
        return tuple(self.listeners)


async def test_a_long_list_serves_for_a_moment(autojump_clock: MockClock) -> None:
    node = _Node()
    lookup = Lookup(node, timeout=5.0)
    never = -float("inf")
    for size, age in ((1, 50e-6), (2_000, 0.1), (10_000, 0.5), (40_000, 1.0)):
        node.listeners = [listener(port) for port in range(1, size + 1)]
        began = trio.current_time()
        await lookup.since(began)
        # From when it was asked for, not from when it came.
        autojump_clock.jump(max(0.0, began + age * 0.99 - trio.current_time()))
        is_young = trio.current_time() - began <= age
        assert is_young is (size > 1_000)
        assert lookup.saw(listener(1), never) is is_young
        assert not lookup.saw(listener(1, "b"), never), "a later one on its port"
        assert not lookup.saw(listener(60_000), never)
        assert not lookup.saw(listener(1), began), "something was done since"
        assert lookup.saw(listener(1), began - 0.001) is is_young
        autojump_clock.jump(age * 0.02)
        assert not lookup.saw(listener(1), never)


async def test_what_was_listed_lately(autojump_clock: MockClock) -> None:
    node = _Node()
    lookup = Lookup(node, timeout=5.0)
    assert not lookup.saw(listener(1), 0.0)
    a, b, b_again, c = listener(1), listener(2), listener(2, "other"), listener(3)

    async def look(*listed: Listener) -> set[Listener]:
        node.listeners = list(listed)
        return set((await lookup.lately(trio.current_time())).listeners.values())

    assert await look(a, b) == {a, b}
    # The first one looks twice, since one list alone may be empty or old.
    assert node.calls == 2
    assert await look(a) == {a, b}
    assert await look(b_again, c) == {a, b_again, c}
    await trio.sleep(50.0)
    assert await look(c) == {a, b_again, c}
    await trio.sleep(15.0)
    # Since they were listed, not since they were missed.
    assert await look(c) == {c}
    await trio.sleep(30.0)
    assert await look() == {c}
    assert await look() == {c}
    await trio.sleep(35.0)
    assert await look() == set()
