"""The latch: an event that is light; and a request for another place, which is made without another check."""

from __future__ import annotations

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from trio_sessions import Capability, InvalidInputError, Path, SessionRequest
from trio_sessions._latch import Latch


async def test_all_who_wait_come_through_and_whoever_comes_later(autojump_clock: MockClock) -> None:
    latch = Latch()
    through: list[int] = []

    async def wait(number: int, *, shielded: bool = False) -> None:
        await (latch.wait_shielded() if shielded else latch.wait())
        through.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(wait, number)
        nursery.start_soon(lambda: wait(3, shielded=True))
        await trio.testing.wait_all_tasks_blocked()
        assert not through
        assert not latch.is_set()
        latch.set()
        latch.set()
        assert latch.is_set()
    assert sorted(through) == [0, 1, 2, 3]
    with trio.testing.assert_checkpoints():
        await latch.wait()
    with trio.testing.assert_no_checkpoints():
        await latch.wait_shielded()


async def test_a_wait_can_be_cancelled_and_a_shielded_one_cannot(autojump_clock: MockClock) -> None:
    latch = Latch()
    with trio.move_on_after(1.0) as scope:
        await latch.wait()
    assert scope.cancelled_caught
    began = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def set_late() -> None:
            await trio.sleep(5.0)
            latch.set()

        nursery.start_soon(set_late)
        with trio.CancelScope() as scope:
            # Before and while it waits.
            scope.cancel()
            await latch.wait_shielded()
            assert trio.current_time() == began + 5.0
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


def test_a_request_for_another_place() -> None:
    path = Path(via=("0x" + "1" * 40,))
    request = SessionRequest(
        "0x" + "2" * 40,
        path,
        path,
        target="a:1",
        protocol="tcp",
        listen_host="127.0.0.1:7",
        capabilities=frozenset({Capability.SEGMENTATION}),
        response_buffer=1,
        max_surb_upstream=2,
    )
    there = request.at("127.1.2.3:4")
    assert there == attrs.evolve(request, listen_host="127.1.2.3:4")
    assert hash(there) == hash(attrs.evolve(request, listen_host="127.1.2.3:4"))
    assert request.listen_host == "127.0.0.1:7"
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        there.target = 3  # type: ignore[misc]
    with pytest.raises(InvalidInputError, match="listen host"):
        request.at("nowhere")
