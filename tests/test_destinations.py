"""Whom a session goes to when nobody said."""

from __future__ import annotations

import random

from hypothesis import given, strategies as st

from trio_sessions._destinations import Destinations
from trio_sessions._errors import NoDestinationError
from trio_sessions._hoprd import Hoprd
from trio_sessions._route import Route


def address(number: int) -> str:
    return f"0x{number:040X}".replace("0X", "0x")


OWN = address(0xA)
ADDRESSES = st.lists(st.sampled_from([OWN, *map(address, range(0xB, 0xF)), address(0xB).lower()]), max_size=8)


class _Node(Hoprd):
    def __init__(self) -> None:
        super().__init__("http://node.invalid")

    async def addresses(self) -> str:
        return OWN.lower()


async def chosen(
    configured: list[str], connected: list[str], relayers: list[str], seed: int
) -> list[str | tuple[int | None, str]]:
    destinations = Destinations(_Node(), configured, random.Random(seed))
    destinations.set_connected(connected)
    found: list[str | tuple[int | None, str]] = []
    for relayer in relayers:
        try:
            found.append(await destinations.choose(Route(relayer)))
        except NoDestinationError as error:
            found.append(str(error))
    return found


@given(ADDRESSES, ADDRESSES, ADDRESSES, st.integers(0, 1000))
def test_one_of_those_that_are_known_and_connected(
    configured: list[str], connected: list[str], relayers: list[str], seed: int
) -> None:
    """The same as by looking at each of them, for each choice."""
    import trio

    rng, expected = random.Random(seed), []
    by_address = {peer.lower(): peer for peer in connected}
    for relayer in relayers:
        known = configured or [by_address[peer] for peer in sorted(by_address)]
        candidates = [peer for peer in known if peer.lower() not in (OWN.lower(), relayer.lower())]
        reachable = [peer for peer in candidates if peer.lower() in by_address]
        if reachable:
            expected.append(rng.choice(reachable))
        else:
            error = NoDestinationError(str(Route(relayer)), len(candidates) if configured else None)
            expected.append(str(error))
    assert trio.run(chosen, configured, connected, relayers, seed) == expected
