"""``relay``, ``relay-bare`` and ``slow-relayers``: how many messages get there and back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Literal

import trio

from benchmarks._case import Case, Figure, Promise, Quotient, Sample, Settings, Work
from benchmarks._figures import LATENCIES, MESSAGES, latency_values, message_sample
from benchmarks._load import BATCH, OUTSTANDING, RELAYERS, WARM_UP, relaying
from benchmarks._meter import quantile, used
from trio_sessions import Node

__all__ = ["BARE", "RELAY", "SLOW"]

#: Shares of the relayers whose opens never answer, in per cent.
_SILENT = (5, 10, 20)

_UNANSWERED = {"unanswered": Figure("unanswered", "%", "lower")}


async def _feed(node: Node, relayer: str) -> None:
    while True:
        await node.relay(relayer, BATCH)


async def _relay(settings: Settings, echo: Literal["plain", "gso"], silent: int = 0) -> Sample:
    """Through :meth:`Node.relay`, two batches outstanding for each relayer."""
    faults = tuple(f"hang:open:relayer={number}" for number in range(silent))
    async with relaying(settings.seed, echo=echo, faults=faults, silent=silent) as (node, bench, load):
        for relayer in bench.relayers:
            for _ in range(OUTSTANDING // RELAYERS):
                load.start_soon(_feed, node, relayer)
        await trio.sleep(WARM_UP)
        before, echoed, began = node.report, bench.load().echo, used()
        await trio.sleep(settings.duration)
        span, after = used() - began, node.report
        answered = after.messages.answered - before.messages.answered
        sample = message_sample(answered, span, bench.load().echo - echoed)
        settled = answered + after.messages.unanswered - before.messages.unanswered
        sample.values["unanswered"] = 1 - answered / settled if settled else 1.0
        sample.values |= latency_values(after.rtt)
        # The first numbers are the silent ones.
        each = [
            after.by_relayer[relayer].answered - before.by_relayer[relayer].answered
            for relayer in bench.relayers[silent:]
            if relayer in before.by_relayer
        ]
        sample.values["evenness"] = min(each, default=0) / max(1.0, quantile(each, 0.5))
    return sample


async def _bare(settings: Settings) -> Sample:
    """Through :meth:`Session.relay`, one batch at a time, session after session."""
    async with relaying(settings.seed) as (node, bench, _):
        sessions = [await node.pool.session(relayer) for relayer in bench.relayers]
        answered = sent = 0
        echoed, began = bench.load().echo, used()
        while (now := used()).wall < began.wall + settings.short:
            for session in sessions:
                outcome = await session.relay(BATCH)
                answered += outcome.answered
                sent += outcome.sent
        sample = message_sample(answered, now - began, bench.load().echo - echoed)
        sample.values["unanswered"] = 1 - answered / sent
        sample.values |= latency_values(node.report.rtt)
    return sample


def _case(
    name: str, title: str, measure: Callable[[Settings], Awaitable[Sample]], *, quick: bool = True, even: bool = True
) -> Case:
    evenness = {"evenness": Figure("slowest of median", "%", "higher")} if even else {}
    figures = MESSAGES | _UNANSWERED | LATENCIES | evenness
    return Case(name=name, title=title, measure=measure, figures=figures, quick=quick)


RELAY = Work(
    name="relay",
    title=f"{RELAYERS} relayers, batches of {BATCH}, {OUTSTANDING} batches outstanding, through Node.relay",
    cases=(
        _case("plain", "echo datagram by datagram, as the daemon does it", partial(_relay, echo="plain")),
        _case("gso", "echo with UDP_SEGMENT and UDP_GRO", partial(_relay, echo="gso")),
    ),
    needs=("floor/plain", "floor/gso"),
    quotients=(
        Quotient("relay of the floor", "relay/plain:rate", "floor/plain:rate"),
        Quotient("relay of the floor, by CPU a message", "floor/plain:cpu", "relay/plain:cpu"),
        Quotient("relay of the floor, both with offload", "relay/gso:rate", "floor/gso:rate"),
        Quotient("relay of the floor, both with offload, by CPU", "floor/gso:cpu", "relay/gso:cpu"),
        Quotient("relay with an offloading echo, of the bare loop", "relay/gso:rate", "floor/plain:rate"),
    ),
    promises=(Promise("relay: at least 0.5 of the floor", "relay of the floor", 0.5),),
)

BARE = Work(
    name="relay-bare",
    title=f"one session after the other, Session.relay of {BATCH} alone",
    cases=(_case("plain", "echo datagram by datagram", _bare, even=False),),
    needs=("floor/in-turn",),
    quotients=(
        Quotient("relay-bare of the floor", "relay-bare/plain:rate", "floor/in-turn:rate"),
        Quotient("relay-bare of the floor, by CPU a message", "floor/in-turn:cpu", "relay-bare/plain:cpu"),
    ),
)

SLOW = Work(
    name="slow-relayers",
    title="the load of relay, while the opens of some relayers never answer",
    cases=tuple(
        _case(
            f"{share}%",
            f"{share} % of the opens hang",
            partial(_relay, echo="plain", silent=share * RELAYERS // 100),
            quick=share == 10,
        )
        for share in _SILENT
    ),
    needs=("relay/plain",),
    quotients=(
        *(
            Quotient(
                f"the others' rate, of their share of relay, {share} % silent",
                f"slow-relayers/{share}%:rate",
                "relay/plain:rate",
                share=1 - share / 100,
            )
            for share in _SILENT
        ),
        *(
            Quotient(
                f"relay's CPU a message, of that with {share} % silent",
                "relay/plain:cpu",
                f"slow-relayers/{share}%:cpu",
            )
            for share in _SILENT
        ),
    ),
    promises=tuple(
        Promise(
            f"slow-relayers: with {share} % silent the others keep at least 0.95",
            f"the others' rate, of their share of relay, {share} % silent",
            0.95,
        )
        for share in _SILENT
    ),
)
