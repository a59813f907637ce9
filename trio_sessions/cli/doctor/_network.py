"""Whom the node can relay through: peers in sight, and open channels with funds."""

from __future__ import annotations

from trio_sessions import Channel
from trio_sessions._address import same_address
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, warn

__all__ = ["check_channels", "check_peers"]

#: Addresses that a line names one by one.
_MOST_NAMED = 2


async def check_peers(case: Case) -> Finding:
    """The node sees other nodes, and among them those that were named."""
    case.peers = await case.hoprd.peers()
    count, question = len(case.peers), case.question
    facts = {"connected": count}
    if not count:
        return fail(
            "the node is connected to no peer",
            "wait, if it has just started",
            "check that its announced address and port can be reached from outside, over UDP",
            **facts,
        )
    if question.relayer is not None and not case.is_connected(question.relayer):
        remedy = ("wait until it is back, or choose another one", "check the address")
        return fail(f"the relayer {question.relayer} is not connected, of {count} peers", *remedy, **facts)
    if question.destination is not None and not case.is_connected(question.destination):
        remedy = ("check the address, and whether it is online", "or choose another destination")
        return warn(f"the destination {question.destination} is not connected, of {count} peers", *remedy, **facts)
    return ok(f"connected to {count} peer{'' if count == 1 else 's'}", **facts)


async def check_channels(case: Case) -> Finding:
    """There are open outgoing channels with funds, to peers in sight."""
    case.channels = await case.hoprd.channels()
    every = [channel for channel in case.channels.outgoing if channel.is_open]
    wanted = case.question.relayer
    mine = every if wanted is None else [channel for channel in every if same_address(channel.peer, wanted)]
    away = [channel for channel in mine if not case.is_connected(channel.peer)]
    empty = [channel for channel in mine if not channel.balance.amount]
    facts = {
        "open": len(every),
        "not_open": len(case.channels.outgoing) - len(every),
        "out_of_sight": [channel.peer for channel in away],
        "empty": [channel.peer for channel in empty],
    }
    if case.question.hops == 0:
        return ok(f"not needed for sessions without a relayer; {len(every)} outgoing ones open", **facts)
    if not mine:
        whom = "outgoing channel" if wanted is None else f"outgoing channel to {wanted}"
        step = "open one to a relayer, with funds in it, and wait until the node says Open"
        return fail(f"no {whom} is open", step, "or, without a relayer: --hops 0", **facts)
    if len(away) == len(mine):
        steps = ("wait until one is back", "or open channels to relayers that are connected")
        return fail(f"no relayer with an open channel is in sight: {_names(away)}", *steps, **facts)
    if all(channel in empty for channel in mine if channel not in away):
        return fail(f"no open channel to a relayer in sight has funds: {_names(empty)}", "fund the channels", **facts)
    problems, remedies = [], []
    if away:
        problems.append(f"not in sight: {_names(away)}")
        remedies.append("wait until they are back, or use others: their sessions end with the grace period")
    if empty:
        problems.append(f"without funds: {_names(empty)}")
        remedies.append("fund these channels: a session through them will not open")
    if problems:
        return warn(f"of {len(mine)} relayers with an open channel, {'; '.join(problems)}", *remedies, **facts)
    return ok(f"{len(mine)} outgoing, open and with funds, to relayers in sight", **facts)


def _names(channels: list[Channel]) -> str:
    names = ", ".join(channel.peer for channel in channels[:_MOST_NAMED])
    more = len(channels) - _MOST_NAMED
    return f"{names} and {more} more" if more > 0 else names
