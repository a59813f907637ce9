"""Metrics for Prometheus, and the server that hands them out; it needs the extra ``metrics``.

::

    metrics = PrometheusInstruments()
    async with Hoprd(url, token=token, instruments=metrics) as hoprd:
        node = Node(hoprd, instruments=metrics)
        async with trio.open_nursery() as nursery:
            url = await nursery.start(partial(serve_metrics, metrics.registry, ready=lambda: node.unready, port=9464))

Nothing is registered at import, and never anything with the default registry of prometheus_client.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from http import HTTPStatus
from importlib.metadata import version
from itertools import product
from math import inf
from typing import TYPE_CHECKING

from trio_sessions import _errors
from trio_sessions._instruments import (
    BatchSettled,
    CallEnded,
    DemandEnded,
    NodePolled,
    Observation,
    OpenEnded,
    OrphanSettled,
    PoolEnded,
    PoolStarted,
    SessionEnded,
)
from trio_sessions._lifecycle import ENDED, EndReason, State
from trio_sessions._statistics import PoolStatistics

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
except ModuleNotFoundError as error:
    remedy = "pip install 'trio-sessions[metrics]'"
    raise ModuleNotFoundError(f"prometheus_client is not installed: {remedy}", name="prometheus_client") from error

from trio_sessions._metrics_server import serve_metrics
from trio_sessions._prometheus_series import Counts, Durations

if TYPE_CHECKING:
    from prometheus_client.core import Metric

__all__ = ["PrometheusInstruments", "serve_metrics"]

_PREFIX = "trio_sessions_"

#: Bounds of the buckets, seconds. A round trip within two seconds, the reply timeout, is told most finely.
_RTT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
#: An attempt to open takes the node up to 20 s, and 90 s when it fails (contract §3.3); there may be several.
_OPEN = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 60.0, 90.0, 180.0, 300.0)
_WAIT = (0.001, 0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_CALL = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 90.0)

#: Values of labels; whatever else there may be counts as the other, so that there is a bound on their number.
_OTHER = "other"
_ERRORS = frozenset({*_errors.__all__, "Cancelled"})
_STATUSES = {status.value: str(status.value) for status in HTTPStatus}
_REASONS = tuple(reason.name.lower() for reason in EndReason if reason is not EndReason.OPEN_FAILED)
_CLOSES = tuple(product(_REASONS, ("confirmed", "left", "lost")))


class PrometheusInstruments:
    """Instruments that are a collector of Prometheus, registered with ``registry``, or with a registry of its own.

    Hand it to ``Hoprd``, and to ``Node`` or ``open_pool``; to several, and what they say is added up. Everything that
    has to do with messages is counted when their batch is settled, as in the report. It may be asked in any thread.

    Args:
        registry: where to register; it must have no other one of these.
        relayer_label: give what concerns one relayer a label that names it. That makes as many series as there are
            relayers; without it their number is bounded.

    Attributes:
        registry: with which it is registered.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, relayer_label: bool = False) -> None:
        self._relayer_label = relayer_label
        self._running: list[Callable[[], PoolStatistics]] = []
        #: Of pools that have ended; messages may be pending for a moment longer.
        self._ended: list[Callable[[], PoolStatistics]] = []
        #: By the node's URL.
        self._healthy: dict[str, bool] = {}
        # Asked for once: that reads files.
        self._built = {
            "version": version("trio-sessions"),
            "python": platform.python_version(),
            "trio": version("trio"),
        }
        named = ("relayer",) if relayer_label else ()

        def counts(name: str, text: str, *labels: str, start: tuple[tuple[str, ...], ...] = ((),)) -> Counts:
            return Counts(_PREFIX + name, text, labels, () if "relayer" in labels else start)

        outcomes = tuple((outcome,) for outcome in ("opened", "failed", "ended"))
        self._opens = counts("opens_total", "Sessions that were asked for", "outcome", *named, start=outcomes)
        self._open_failures = counts("open_failures_total", "Sessions that failed to open", "error", start=())
        text = "Sessions that were open and are over"
        self._closes = counts("closes_total", text, "reason", "outcome", *named, start=_CLOSES)
        self._timeouts = counts("acquire_timeouts_total", "Demands for a session that ended by their time-out")
        self._reaped = counts("reaped_total", "Listeners that no session had, and that were closed")
        outcomes = tuple((outcome,) for outcome in ("answered", "unanswered", "undelivered"))
        self._messages = counts("messages_total", "Messages by what became of them", "outcome", *named, start=outcomes)
        text = "REST calls by HTTP method, and status or error"
        self._calls = counts("rest_calls_total", text, "method", "status", start=())

        text = "From the first demand until a session was open, or would not be"
        self._open_seconds = Durations(f"{_PREFIX}open_duration_seconds", text, _OPEN)
        text = "What demands for a session waited, whatever their outcome"
        self._wait_seconds = Durations(f"{_PREFIX}acquire_wait_seconds", text, _WAIT)
        self._rtt = Durations(f"{_PREFIX}rtt_seconds", "Round-trip times of answered messages", _RTT, named)
        text = "What REST calls took"
        self._call_seconds = Durations(f"{_PREFIX}rest_call_seconds", text, _CALL, ("method",))

        self.registry = CollectorRegistry() if registry is None else registry
        self.registry.register(self)

    def __call__(self, observation: Observation, /) -> None:
        """Count what has happened."""
        match observation:
            case BatchSettled():
                self._settled(observation)
            case CallEnded(method=method):
                self._calls.add(method, _status(observation))
                self._call_seconds.add(observation.seconds, method)
            case DemandEnded():
                self._wait_seconds.add(observation.seconds)
                self._timeouts.add(by=observation.outcome == "timed out")
            case OpenEnded():
                self._opened(observation)
            case SessionEnded(info=info) if info.reason is not None:
                self._closes.add(info.reason.name.lower(), observation.outcome, *self._named(observation.route))
            case OrphanSettled():
                self._reaped.add(by=observation.outcome == "confirmed")
            case NodePolled():
                self._healthy[observation.url] = bool(observation.healthy)
            case PoolStarted():
                self._running.append(observation.statistics)
            case PoolEnded():
                self._running.remove(observation.statistics)
                self._ended.append(observation.statistics)
                self._ended = self._pending()
                self._healthy.pop(observation.url, None)

    def collect(self) -> Iterator[Metric]:
        """All metrics, as the registry asks for them."""
        now = [statistics() for statistics in tuple(self._running)]
        pending = sum(each.messages_pending for each in now) + sum(each().messages_pending for each in self._pending())
        yield from self._gauges(now)
        counts = (
            self._opens,
            self._open_failures,
            self._closes,
            self._timeouts,
            self._reaped,
            self._messages,
            self._calls,
        )
        for each in counts:
            yield each.family()
        accepted = Counts(f"{_PREFIX}messages_accepted_total", "Messages that were taken, those under way among them")
        accepted.add(by=self._messages.total() + pending)
        yield accepted.family()
        for durations in (self._open_seconds, self._wait_seconds, self._rtt, self._call_seconds):
            yield durations.family()

    #: The registry asks what names there are: so a second one of these is refused.
    describe = collect

    def _settled(self, batch: BatchSettled) -> None:
        named = self._named(batch.relayer)
        self._messages.add("answered", *named, by=batch.answered)
        self._messages.add("unanswered", *named, by=batch.unanswered)
        self._messages.add("undelivered", *named, by=batch.undelivered)
        self._rtt.add_all(batch.rtts, *named)

    def _opened(self, opening: OpenEnded) -> None:
        self._opens.add(opening.outcome, *self._named(opening.route))
        self._open_seconds.add(opening.seconds)
        if opening.error is not None:
            self._open_failures.add(_known(type(opening.error).__name__))

    def _named(self, relayer: str) -> tuple[str, ...]:
        return (relayer.lower(),) if self._relayer_label else ()

    def _pending(self) -> list[Callable[[], PoolStatistics]]:
        """The pools that have ended and have messages yet to be settled."""
        return [statistics for statistics in tuple(self._ended) if statistics().messages_pending]

    def _gauges(self, pools: list[PoolStatistics]) -> Iterator[Metric]:
        sessions = GaugeMetricFamily(f"{_PREFIX}open", "Sessions that are not over", labels=["state"])
        for state in State:
            if state not in ENDED:
                sessions.add_metric([state.value], sum(each.sessions[state] for each in pools))
        yield sessions
        limits = [inf if each.limit is None else each.limit for each in pools]
        rows = (
            ("limit", "Sessions that there can be at one time", limits),
            ("acquire_pending", "Demands that wait for a session", [each.demands_waiting for each in pools]),
            ("janitor_backlog", "Listeners to be closed, or to be found out about", [p.janitor_backlog for p in pools]),
            ("orphans", "Listeners of ours, to be closed, that no session had", [each.orphans for each in pools]),
            ("left", "Listeners that were given up, and may be left at the node", [each.left for each in pools]),
        )
        for name, text, numbers in rows:
            yield GaugeMetricFamily(_PREFIX + name, text, sum(numbers))
        text = "Whether the node answers, and its own check passes"
        healthy = GaugeMetricFamily(f"{_PREFIX}node_healthy", text, labels=[])
        if self._healthy:
            healthy.add_metric([], min(tuple(self._healthy.values())))
        yield healthy
        yield InfoMetricFamily(f"{_PREFIX}build", "What runs here", self._built)


def _status(call: CallEnded) -> str:
    return _known(call.error or _OTHER) if call.status is None else _STATUSES.get(call.status, _OTHER)


def _known(name: str) -> str:
    return name if name in _ERRORS else _OTHER
