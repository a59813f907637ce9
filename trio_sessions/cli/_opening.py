"""What ``open`` does: one listener, from the wish to its end."""

from __future__ import annotations

import json
from contextlib import AbstractAsyncContextManager

import attrs
import trio

from trio_sessions import Hoprd, OpenListener, PoolOptions, SessionOpenError, open_listener
from trio_sessions.cli._access import Access
from trio_sessions.cli._at_node import open_node
from trio_sessions.cli._open import OpenPlan
from trio_sessions.cli._status import CLEAN, FAILED, LEFT
from trio_sessions.cli._streams import say, write_stdout
from trio_sessions.cli._table import place
from trio_sessions.cli._temporary import check_relayer, detached_name, names, remembered, temporary_instance

__all__ = ["Opening"]

#: Seconds between looks whether the node still has the listener: who uses it learns of its end from nobody else.
_LOOK_INTERVAL = 2.0


class Opening:
    """Opens a listener, keeps it until a signal comes or the node ends it, and closes it."""

    def __init__(self, access: Access, plan: OpenPlan) -> None:
        self._access = access
        self._plan = plan
        self._scope = trio.CancelScope()
        self._options: PoolOptions | None = None
        self._opened: OpenListener | None = None
        self._was_ended = False

    def interrupt(self) -> bool:
        """End it, from wherever it is."""
        self._scope.cancel()
        return True

    async def run(self) -> int | None:
        """The whole of it; the exit status, none when a signal came before the listener was open."""
        try:
            with self._scope:
                async with open_node(self._access, self._plan.wait) as hoprd:
                    if self._plan.relayer is not None:
                        await check_relayer(hoprd, self._plan.relayer)
                    await self._live(hoprd)
        except SessionOpenError:
            if self._tell_left():
                return LEFT
            raise
        if self._opened is None:
            return LEFT if self._tell_left() else None
        return self._status(self._opened)

    async def _live(self, hoprd: Hoprd) -> None:
        plan = self._plan

        def enter(options: PoolOptions) -> AbstractAsyncContextManager[OpenListener]:
            self._options = options = attrs.evolve(options, reconcile_interval=_LOOK_INTERVAL)
            return open_listener(hoprd, plan.relayer, hops=plan.hops, options=options, timeout=plan.timeout)

        candidates = [detached_name()] if plan.detach else names("open")
        async with temporary_instance(self._access, candidates, enter, plan.destinations) as (options, opened):
            self._opened = opened
            if plan.detach:
                await opened.detach()
            self._announce(options, opened)
            if not plan.detach:
                await opened.wait_gone()
                self._was_ended = True

    def _announce(self, options: PoolOptions, opened: OpenListener) -> None:
        listener = opened.listener
        if self._plan.wants_json:
            data = {
                "schema": 1,
                "listener": place(listener.key),
                "protocol": listener.key.protocol,
                "route": opened.route,
                "destination": listener.destination,
                "payload_size": listener.payload_size,
                "instance": options.instance,
                "journal": options.journal,
                "detached": self._plan.detach,
            }
            write_stdout(json.dumps(data))
        else:
            write_stdout(place(listener.key))
        if self._plan.detach:
            say("trio-sessions: left at the node, which ends it when nothing came back for 180 to 203 s")

    def _tell_left(self) -> bool:
        """Say what the journal remembers of a failed opening; whether there was anything."""
        lines = [] if self._options is None else remembered(self._options)
        for line in lines:
            say(f"trio-sessions: error: left at the node: {line}; reap settles it")
        return bool(lines)

    def _status(self, opened: OpenListener) -> int:
        """The exit status at the end."""
        for left in opened.left:
            what = left.listener or "perhaps one of an unknown port"
            say(f"trio-sessions: error: left at the node: {what} via {left.route}: {left.reason}")
        if opened.left:
            return LEFT
        if self._was_ended:
            say("trio-sessions: error: the node ended the listener: nothing came back for long, or it was restarted")
            return FAILED
        return CLEAN
