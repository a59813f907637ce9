"""The figures that several works have in common, and samples of them."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks._case import Figure, Sample
from benchmarks._echo import EchoLoad
from benchmarks._meter import Used

__all__ = ["BUSY", "CALLS", "FAR_END", "LATENCIES", "MESSAGES", "call_sample", "latency_values", "message_sample"]

#: Above this share of a core the far end may be what is measured.
BUSY = 0.9

#: Figures of the other side: a line below the table, and not columns in it.
FAR_END = ("echo_busy", "echo_ceiling", "node_busy", "node_ceiling")

#: Where a rate is low and this is well below 1, the process waited: for the other side, or for a core that others had.
_CORE = Figure("core used", "%")

#: Of a work that sends messages. CPU is that of the measured process.
MESSAGES = {
    "rate": Figure("messages", "/s", "higher"),
    "cpu": Figure("CPU a message", "µs", "lower"),
    "core": _CORE,
    "echo_busy": Figure("echo busy", "%"),
    "echo_ceiling": Figure("echo's ceiling", "/s"),
}
#: Of one that makes REST calls.
CALLS = {
    "rate": Figure("calls", "/s", "higher"),
    "cpu": Figure("CPU a call", "µs", "lower"),
    "core": _CORE,
    "node_busy": Figure("node busy", "%"),
    "node_ceiling": Figure("node's ceiling", "/s"),
}
#: Round trips of messages.
LATENCIES = {
    "p50": Figure("p50", "ms", "lower"),
    "p90": Figure("p90", "ms", "lower"),
    "p99": Figure("p99", "ms", "lower"),
    "p999": Figure("p99.9", "ms", "lower"),
}


def message_sample(messages: int, span: Used, echo: EchoLoad) -> Sample:
    """So many messages there and back in that span, and what the echo did meanwhile."""
    return Sample(
        {
            "rate": messages / span.wall,
            "cpu": span.cpu / messages * 1e6 if messages else 0.0,
            "core": span.cpu / span.wall,
            "echo_busy": echo.seconds / span.wall,
            "echo_ceiling": echo.ceiling,
        }
    )


def call_sample(calls: int, span: Used, node: float) -> Sample:
    """So many calls in that span, and the seconds of CPU that the node took for them."""
    return Sample(
        {
            "rate": calls / span.wall,
            "cpu": span.cpu / calls * 1e6,
            "core": span.cpu / span.wall,
            "node_busy": node / span.wall,
            "node_ceiling": calls / node if node else 0.0,
        }
    )


def latency_values(rtt: Mapping[str, float]) -> dict[str, float]:
    """The quantiles of a report, in milliseconds."""
    return {name: rtt[name] * 1000 for name in LATENCIES if name in rtt}
