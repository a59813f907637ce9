"""The proof: a real session through a relayer, a batch there and back, and nothing of it left."""

from __future__ import annotations

import os
from contextlib import suppress
from statistics import median

import attrs
import trio

from trio_sessions import (
    BatchOutcome,
    DedicatedAddress,
    Listener,
    NodeError,
    NodeTimeoutError,
    PoolOptions,
    Session,
    SessionEndedError,
    SessionError,
    SessionOpenError,
    SessionPool,
    SessionsError,
    open_pool,
)
from trio_sessions._address import same_address
from trio_sessions._advice import advise
from trio_sessions._budget import open_budget
from trio_sessions._journal_look import remove_empty_journal
from trio_sessions.cli._access import Access
from trio_sessions.cli._state import default_journal
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, warn

__all__ = ["check_loopback"]

#: Messages: enough to see loss, and few enough to be no load.
_BATCH = 10
#: Seconds that their answers are waited for.
_REPLY_TIMEOUT = 5.0
#: ... and that closing the session may take.
_STOP_TIMEOUT = 5.0
#: The doctor's own name is made of the instance's: it must not be in the way of a run that is at work.
_SUFFIX = ".doctor"
_LONGEST_NAME = 64


@attrs.define
class _Trial:
    """How far it got."""

    listener: Listener | None = None
    opened_in: float | None = None
    outcome: BatchOutcome | None = None
    error: SessionsError | None = None


async def check_loopback(case: Case) -> Finding:
    """A session opens, relays, and is gone from the node's own list afterwards; ``case.left`` says what isn't."""
    question = case.question
    relayer = (question.relayer or case.relayers[0]) if question.hops is None else None
    destination = question.destination or _any_destination(case, relayer)
    if destination is None:
        return fail("no peer is there to be the destination", "wait for more peers, or name one: --destination")
    hops = 1 if question.hops is None else question.hops
    patience = open_budget(hops, hops, balancer=False) if question.timeout is None else question.timeout
    trial = _Trial()
    pool: SessionPool | None = None
    options = _options(case.access, question.timeout)
    try:
        async with open_pool(case.hoprd, options) as pool:
            try:
                with trio.move_on_after(patience) as waiting:
                    await _relay(pool, trial, waiting, relayer=relayer, destination=destination, hops=question.hops)
            finally:
                pool.stop(drain=False)
    except SessionsError as error:
        trial.error = error
    finally:
        if pool is not None:
            case.left = pool.report.left
            if options.journal is not None:
                # The next examination needs no file that remembers nothing; what is wrong with one it will say.
                with suppress(SessionsError):
                    remove_empty_journal(options.journal)
    if trial.error is None and trial.opened_in is None:
        detail = f"no session within {patience:g} s"
        trial.error = NodeTimeoutError("POST", "/session/udp", detail)
    return await _judge(case, trial, relayer, destination, hops)


async def _relay(
    pool: SessionPool,
    trial: _Trial,
    waiting: trio.CancelScope,
    *,
    relayer: str | None,
    destination: str,
    hops: int | None,
) -> None:
    began = trio.current_time()
    try:
        session: Session = await pool.session(relayer, destination=destination, hops=hops)
        # What follows has time-outs of its own.
        waiting.deadline = float("inf")
        trial.opened_in = trio.current_time() - began
        trial.listener = session.info.listener
        trial.outcome = await session.relay(_BATCH)
    except SessionError as error:
        trial.error = error


async def _judge(case: Case, trial: _Trial, relayer: str | None, destination: str, hops: int) -> Finding:
    facts: dict[str, object] = {
        "relayer": relayer,
        "destination": destination,
        "hops": hops,
        "opened_in": None if trial.opened_in is None else round(trial.opened_in, 6),
    }
    if case.left:
        names = ", ".join(left.listener or "perhaps one of an unknown port" for left in case.left)
        why = "" if trial.error is None else f" ({_why(trial.error)})"
        steps = ("see whether it is there: trio-sessions list", "it ends by itself, 180 to 203 s after its last use")
        return fail(f"a listener of this check may be left: {names}{why}", *steps, *_steps(trial.error), **facts)
    if trial.error is not None:
        return fail(_why(trial.error), *_steps(trial.error), **facts)
    trouble = await _trouble_at_node(case, trial.listener)
    if trouble is not None:
        return fail(f"it relayed; then {trouble}", "see trio-sessions list: unused, it ends by itself", **facts)
    assert trial.outcome is not None
    way = f"{hops} hops" if relayer is None else _short(relayer)
    return _judge_messages(trial.outcome, f"through {way} to {_short(destination)}", facts)


def _judge_messages(outcome: BatchOutcome, route: str, facts: dict[str, object]) -> Finding:
    facts |= {"sent": outcome.sent, "answered": outcome.answered}
    if not outcome.answered:
        return fail(f"a session opened {route}, but no message of {_BATCH} came back", *_SILENCE, **facts)
    rtts = {"min": min(outcome.rtts), "median": median(outcome.rtts), "max": max(outcome.rtts)}
    facts["rtt"] = {name: round(rtt, 6) for name, rtt in rtts.items()}
    trip = f"{1000 * rtts['median']:.1f} ms there and back"
    found = f"{outcome.answered} of {_BATCH} messages came back {route}, {trip}; closed, nothing left"
    if outcome.answered < _BATCH:
        return warn(found, *_LOSS, **facts)
    return ok(found, **facts)


def _short(address: str) -> str:
    """An address for people; the facts have it whole."""
    return f"{address[:8]}…{address[-4:]}"


_SILENCE = (
    "check that the destination serves the echo (service 0), or try another one: --destination",
    "check that datagrams reach the listener from here: firewall, container; --connect-host names its address",
    "check the way back: the destination answers only while it has reply blocks (SURBs) and a path to this node",
    "try another relayer: --relayer",
)
_LOSS = (
    "expect some loss in a mix network; of much of it, check the relayer's quality, and try another one",
    "check the load of this machine and of the node's",
)


def _why(error: SessionsError) -> str:
    """What went wrong, without the advice that is given below it."""
    if isinstance(error, SessionOpenError):
        return f"no session opened through {error.route}: {error.__cause__ or error.detail}"
    return str(error)


def _steps(error: SessionsError | None) -> tuple[str, ...]:
    if isinstance(error, SessionEndedError):
        return _SILENCE
    return () if error is None else advise(error)


async def _trouble_at_node(case: Case, listener: Listener | None) -> str | None:
    """What is wrong at the node after the end, by its own list; ``None``: nothing."""
    try:
        listed = await case.hoprd.list_sessions()
    except NodeError as error:
        return f"the node's list could not be read: {error}"
    if listener is not None and any(each.same_as(listener) for each in listed):
        return f"the node still lists {listener.key}"
    return None


def _any_destination(case: Case, relayer: str | None) -> str | None:
    """The best connected peer that is not the relayer; those without a channel of ours first, as exits tend to be."""
    relayers = {address.lower() for address in case.relayers}
    candidates = [peer for peer in case.peers if relayer is None or not same_address(peer.address, relayer)]
    best = min(candidates, key=lambda peer: (peer.address.lower() in relayers, -peer.quality), default=None)
    return None if best is None else best.address


def _options(access: Access, timeout: float | None) -> PoolOptions:
    """As a run of this instance would have it, but under a name of its own, with a journal of its own."""
    instance = access.instance[: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX
    namespace = access.namespace
    if isinstance(namespace, DedicatedAddress):
        namespace = DedicatedAddress()
    journal = None
    if access.needs_journal:
        given = access.journal
        journal = default_journal(access.url, instance) if given is None else f"{os.path.realpath(given)}{_SUFFIX}"
    return PoolOptions(
        namespace=namespace,
        instance=instance,
        journal=journal,
        connect_host=access.connect_host,
        open_attempts=1,
        wait_for_node=False,
        reply_timeout=_REPLY_TIMEOUT if timeout is None else min(timeout, _REPLY_TIMEOUT),
        stop_timeout=_STOP_TIMEOUT,
    )
