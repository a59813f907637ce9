"""The metrics of a run: what counts them, and the server that shows them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_sessions import Node
from trio_sessions.cli._listen import ListenAddress
from trio_sessions.cli._screen import Screen
from trio_sessions.cli._status import CommandError

if TYPE_CHECKING:
    from trio_sessions.prometheus import PrometheusInstruments

__all__ = ["Metrics"]


class Metrics:
    """Counts, and serves at ``address`` when it is told to."""

    def __init__(self, address: ListenAddress, *, relayer_label: bool = False) -> None:
        # Here, since few runs have metrics.
        from trio_sessions.prometheus import PrometheusInstruments

        self._address = address
        self.instruments: PrometheusInstruments = PrometheusInstruments(relayer_label=relayer_label)

    async def serve(self, node: Node, screen: Screen, nursery: trio.Nursery) -> None:
        """Serve in ``nursery`` until that is cancelled; returns when it listens, and the screen has its URL.

        Raises:
            CommandError: the address cannot be used.
        """
        from trio_sessions.prometheus import serve_metrics

        server = partial(
            serve_metrics,
            self.instruments.registry,
            ready=lambda: node.unready,
            host=self._address.host,
            port=self._address.port,
        )
        try:
            url = await nursery.start(server)
        except OSError as error:
            remedy = "choose another one, or port 0 for a free one"
            reason = error.strerror or error
            raise CommandError(f"metrics cannot be served at {self._address}: {reason}; {remedy}") from error
        screen.note(f"metrics at {url}/metrics")
