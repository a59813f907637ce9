"""For the tests of list, open, close, reap and relay: a node with strangers, and a state folder of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import httpx
import trio

from tests.cli.support import PATIENCE, TOKEN, Ended, Running, Simulator, ended, environment, get, running, simulator
from trio_sessions import Hoprd, ListenerKey, NodeError, Path as HopPath, SessionRequest
from trio_sessions.cli._access import Access
from trio_sessions.cli._survey import look_around
from trio_sessions.cli._table import place


@attrs.frozen
class Site:
    """A simulator, two strangers' listeners at it, and the state folder that all commands have here."""

    sim: Simulator
    folder: Path
    strangers: set[str]

    @property
    def env(self) -> dict[str, str]:
        return environment(XDG_STATE_HOME=str(self.folder))

    @property
    def relayers(self) -> list[str]:
        found: list[str] = self.sim.ready["relayers"]
        return found

    @property
    def journals(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "trio-sessions").glob("*.journal"))

    async def do(self, command: str, *arguments: str) -> Ended:
        return await ended(command, "--url", self.sim.url, *arguments, env=self.env)

    @asynccontextmanager
    async def doing(self, command: str, *arguments: str) -> AsyncIterator[Running]:
        async with running(command, "--url", self.sim.url, *arguments, env=self.env) as it:
            yield it

    async def listed(self, *arguments: str) -> list[dict[str, Any]]:
        """What ``list --json`` says."""
        over = await self.do("list", "--json", *arguments)
        assert over.status == 0, over.err
        report = over.report
        assert report["schema"] == 1
        found: list[dict[str, Any]] = report["listeners"]
        return found

    async def owners(self, *, ours: bool = False, **access: Any) -> dict[str, str]:
        """Who has each of the listeners, as list sees it; without the half second that its process takes."""
        own = Access(url=self.sim.url, token=TOKEN, **access)
        async with Hoprd(own.url, token=TOKEN) as hoprd:
            seen = await look_around(hoprd, own)
        return {place(each.key): each.owner.value for each in seen if each.is_ours or not ours}

    async def listed_rows(self) -> list[str]:
        """The states of what the journals remember and the node does not list."""
        own = Access(url=self.sim.url, token=TOKEN)
        async with Hoprd(own.url, token=TOKEN) as hoprd:
            return [each.state for each in await look_around(hoprd, own) if each.listener is None]

    async def ours(self) -> set[str]:
        """Session ids at the node without the strangers'; all of those must be there."""
        there = {each["session_id"] for each in await self.sim.listeners()}
        assert self.strangers <= there
        return there - self.strangers

    async def arm(self, *faults: str) -> None:
        """Have these faults, and no others."""
        await self._tell("faults", {"faults": list(faults), "clear": True})

    async def restart(self, *, down_for: float) -> None:
        """Restart the node, and return when it is down; the strangers' listeners are gone by that, too."""
        self.strangers.clear()
        await self._tell("restart", {"down_for": down_for})
        async with Hoprd(self.sim.url, token=TOKEN) as hoprd:
            with trio.fail_after(PATIENCE), suppress(NodeError):
                while await hoprd.addresses():
                    pass

    async def _tell(self, what: str, body: dict[str, Any]) -> None:
        async with httpx.AsyncClient(trust_env=False, headers={"X-Auth-Token": TOKEN}) as client:
            (await client.post(f"{self.sim.url}/simulator/{what}", json=body)).raise_for_status()

    async def state(self) -> dict[str, Any]:
        """The simulator's word on all that is open, or opening."""
        found: dict[str, Any] = (await get(f"{self.sim.url}/simulator/state")).raise_for_status().json()
        return found

    async def end_behind_our_back(self, place: str) -> None:
        """End a listener as an idle end would."""
        ip, _, port = place.rpartition(":")
        async with Hoprd(self.sim.url, token=TOKEN) as hoprd:
            assert await hoprd.close_session(ListenerKey("udp", ip, int(port)))

    async def detach(self, *arguments: str) -> str:
        over = await self.do("open", self.relayers[0], "--detach", *arguments)
        assert over.status == 0, over.err
        return over.out.strip()


async def add_stranger(sim: Simulator, **where: object) -> str:
    """A listener of somebody else, opened as anybody would; its session id."""
    async with Hoprd(sim.url, token=TOKEN) as hoprd:
        path = HopPath(hops=1)
        listen = {"listen_host": str(where["at"])} if "at" in where else {}
        destination = sim.ready["destinations"][-1]
        listener = await hoprd.open_session(SessionRequest(destination, path, path, **listen))  # type: ignore[arg-type]
    return listener.clients[0]


@asynccontextmanager
async def site(folder: Path, *arguments: str) -> AsyncIterator[Site]:
    """A site with a simulator of its own; at the end the strangers must be there."""
    with patch.dict(os.environ, XDG_STATE_HOME=str(folder)):
        async with simulator("--open-latency", "0.05", *arguments) as sim:
            strangers = {await add_stranger(sim), await add_stranger(sim)}
            it = Site(sim, folder, strangers)
            yield it
            await it.ours()
