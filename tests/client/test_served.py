"""The client and the simulator's own HTTP server, over real sockets and real time."""

from __future__ import annotations

import pytest
import trio

from trio_sessions._hoprd import Hoprd
from trio_sessions._model import Path, SessionRequest
from trio_sessions.simulator import SimulatorConfig, serve_node


@pytest.mark.parametrize("dialect", ["3", "4.0-rc", "4.0", "4.1"])
async def test_life_of_a_listener(dialect: str) -> None:
    async with trio.open_nursery() as nursery:
        node = await nursery.start(serve_node, SimulatorConfig(dialect=dialect))
        async with Hoprd(node.url, token=node.token) as hoprd:
            relayer = node.node.relayers[0]
            path = Path(hops=1) if dialect == "4.0-rc" else Path(via=(relayer,))
            listener = await hoprd.open_session(SessionRequest(node.node.destinations[0], path, path))
            [listed] = await hoprd.list_sessions()
            assert listed.same_as(listener)
            assert await hoprd.close_session(listener.key)
            assert not await hoprd.close_session(listener.key)
            assert relayer in {peer.address for peer in await hoprd.peers()}
            assert await hoprd.check("healthyz")
        nursery.cancel_scope.cancel()
