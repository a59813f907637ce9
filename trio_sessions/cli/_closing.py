"""Closing what was decided: by recovering the journal that remembers it, or, where none does, by itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import ExitStack, suppress

import attrs
import trio

from trio_sessions import Hoprd, InstanceInUseError, NodeError, PoolOptions, PortRange, SessionsError, Shared
from trio_sessions._grounds import open_janitor
from trio_sessions._instance import hold_address
from trio_sessions._journal_look import look_at_journal, remove_empty_journal
from trio_sessions._journal_row import RESTING, JournalRow
from trio_sessions._listeners import Claim
from trio_sessions._matching import chose_port
from trio_sessions._model import split_listen_host
from trio_sessions._ownership import KnownJournal, Owner, Proof, Sighting
from trio_sessions.cli._table import place

__all__ = ["Result", "close_all", "is_temporary", "remove_journals"]

#: Instances of one command's time; their journals are removed when they remember nothing.
_TEMPORARY = ("detached", "open", "relay")
#: Seconds between looks whether the node still lists what it said it had closed.
_LOOK_AGAIN = 0.2


@attrs.frozen
class Result:
    """What became of a listener that was to be closed.

    Attributes:
        is_gone: whether the node has it no more.
        detail: what happened, or why it is left.
    """

    sighting: Sighting
    is_gone: bool
    detail: str


async def close_all(hoprd: Hoprd, sightings: list[Sighting], timeout: float) -> list[Result]:
    """Close these, within about ``timeout`` seconds, and look that the node has them no more.

    What can't be closed is a result, too, and no error. Cancelled, it ends within that time as well.
    """
    by_journal: dict[str, list[Sighting]] = {}
    by_itself: dict[str | None, list[Sighting]] = {}
    for each in sightings:
        if each.journal is not None and each.owner is not Owner.RUNNING:
            by_journal.setdefault(each.journal.look.path, []).append(each)
        elif each.listener is not None:
            # An address of ours must not become a running instance's meanwhile.
            is_guarded = each.proof is Proof.ADDRESS and each.owner is not Owner.RUNNING
            by_itself.setdefault(each.listener.key.ip if is_guarded else None, []).append(each)
    results: list[Result] = []
    deadline = trio.current_time() + timeout

    async def recover(group: list[Sighting]) -> None:
        results.extend(await _recover(hoprd, group, timeout))

    async def close(address: str | None, group: list[Sighting]) -> None:
        results.extend(await _close(hoprd, address, group, timeout))

    async with trio.open_nursery() as nursery:
        for group in by_journal.values():
            nursery.start_soon(recover, group)
        for address, group in by_itself.items():
            nursery.start_soon(close, address, group)
    order = {id(each): index for index, each in enumerate(sightings)}
    results.sort(key=lambda result: order[id(result.sighting)])
    return await _confirmed(hoprd, results, deadline)


async def _recover(hoprd: Hoprd, group: list[Sighting], timeout: float) -> list[Result]:
    """Settle rows of one journal, and no others, as the next start of its instance would."""
    journal = group[0].journal
    assert journal is not None
    chosen = {each.row.id for each in group if each.row is not None}
    options = PoolOptions(
        namespace=_ports_of(journal, chosen), instance="close", journal=journal.look.path, stop_timeout=timeout
    )
    try:
        async with open_janitor(
            hoprd,
            options,
            adopts=lambda row: row.id in chosen,
            rng=random.Random(),
            in_thread=trio.to_thread.run_sync,
        ) as (janitor, _):
            pass
    except InstanceInUseError:
        return [Result(each, False, f"instance {journal.instance} runs now, and has it") for each in group]
    except SessionsError as error:
        return [Result(each, False, str(error)) for each in group]
    left = {claim.row: claim for claim in janitor.left}
    rest = await trio.to_thread.run_sync(_rows_left, journal.look.path, chosen)
    await trio.to_thread.run_sync(remove_journals, [journal])
    return [_judge(each, left, rest) for each in group]


def _judge(sighting: Sighting, left: dict[int | None, Claim], rest: dict[int, JournalRow]) -> Result:
    assert sighting.row is not None
    claim = left.get(sighting.row.id)
    if claim is None:
        # One of unknown age has another number by now.
        claim = next((each for each in left.values() if _is_row(each, sighting.row)), None)
    if claim is not None:
        return Result(sighting, False, str(claim.error or "there was not enough time"))
    if sighting.row.id in rest:
        return Result(sighting, False, "it is closed or not, and the journal could not be written")
    return Result(sighting, True, "closed" if sighting.listener is not None else "it was gone already")


def _is_row(claim: Claim, row: JournalRow) -> bool:
    return claim.request == row.request and claim.route == row.route and (row.listener in (None, claim.listener))


def _rows_left(path: str, chosen: set[int]) -> dict[int, JournalRow]:
    try:
        look = look_at_journal(path)
    except SessionsError:
        return {}
    return {row.id: row for row in (look.rows if look else ()) if row.id in chosen and row.state != RESTING}


def _ports_of(journal: KnownJournal, chosen: set[int]) -> PortRange | Shared:
    """A namespace of the ports that we chose for these rows: so each of them rests afterwards, as it should.

    On an address of our own, no port has to rest.
    """
    ports = []
    for row in journal.look.rows:
        if row.id in chosen and row.request.listen_host is not None and chose_port(row.request):
            ip, port = split_listen_host(row.request.listen_host)
            if not ip.startswith("127.") or ip == "127.0.0.1":
                ports.append(int(port))
    return PortRange(min(ports), max(ports)) if ports else Shared()


async def _close(hoprd: Hoprd, address: str | None, group: list[Sighting], timeout: float) -> list[Result]:
    """Close listeners that no journal of ours answers for."""
    with ExitStack() as held:
        try:
            if address is not None:
                held.enter_context(hold_address(address))
        except InstanceInUseError:
            return [Result(each, False, f"instance {each.instance} runs now, and has it") for each in group]
        options = PoolOptions(instance="close", stop_timeout=timeout)
        claims = []
        async with open_janitor(hoprd, options, rng=random.Random(), in_thread=trio.to_thread.run_sync) as (janitor, _):
            for each in group:
                assert each.listener is not None
                claims.append(janitor.close_listed(each.listener, place(each.key)))
        left = {id(claim): claim for claim in janitor.left}
    return [
        Result(each, id(claim) not in left, str(claim.error or "not enough time") if id(claim) in left else "closed")
        for each, claim in zip(group, claims, strict=True)
    ]


async def _confirmed(hoprd: Hoprd, results: list[Result], deadline: float) -> list[Result]:
    """The results by the node's own list: what it still lists is not gone, whatever it answered."""
    listed = {result.sighting.listener for result in results if result.is_gone} - {None}
    if not listed:
        return results
    while True:
        try:
            now = {each.key: each for each in await hoprd.list_sessions()}
        except NodeError as error:
            said = f"closed, by the node's word; its list was not to be had: {error}"
            return [attrs.evolve(each, detail=said) if each.is_gone else each for each in results]
        still = {each for each in listed if each and each.key in now and now[each.key].same_as(each)}
        if not still or trio.current_time() >= deadline:
            break
        await trio.sleep(_LOOK_AGAIN)
    return [
        attrs.evolve(each, is_gone=False, detail="the node said that it closed it, and lists it still")
        if each.is_gone and each.sighting.listener in still
        else each
        for each in results
    ]


def is_temporary(instance: str) -> bool:
    """Whether the instance was one command's alone."""
    base, _, rest = instance.partition("-")
    return base in _TEMPORARY and (base == "detached" or not rest or rest.isdigit())


def remove_journals(journals: Iterable[KnownJournal]) -> None:
    """Remove the journals of temporary instances that remember nothing."""
    for journal in journals:
        if is_temporary(journal.instance):
            # Somebody may have it by now, or it can't be removed: it is in nobody's way.
            with suppress(SessionsError):
                remove_empty_journal(journal.look.path)
