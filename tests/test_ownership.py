"""Whose a listener is: ours on proof alone, and never a stranger's, whatever the journals and the list hold."""

from __future__ import annotations

import attrs
from hypothesis import given, strategies as st

from trio_sessions import Listener, ListenerKey, Path, PortRange, SessionRequest
from trio_sessions._journal_look import JournalLook
from trio_sessions._journal_row import JournalRow
from trio_sessions._ownership import Ground, KnownJournal, Owner, Proof, Sighting, survey
from trio_sessions.cli._decisions import Action, decide_close, decide_reap

OWN = "127.9.8.7"
PLACES = st.builds(
    ListenerKey, st.sampled_from(["udp", "tcp"]), st.sampled_from(["127.0.0.1", OWN, "0.0.0.0"]), st.integers(1, 6)
)
DESTINATIONS = st.sampled_from(["0x" + "ab" * 20, "0x" + "AB" * 20, "0x" + "cd" * 20])
LISTENERS = st.builds(
    Listener,
    key=PLACES,
    destination=DESTINATIONS,
    target=st.just("#0"),
    forward=st.none() | st.just(Path(hops=1)),
    back=st.just(Path(hops=1)),
    hopr_mtu=st.just(1020),
    surb_len=st.just(395),
    clients=st.sampled_from([(), ("one",), ("two",), ("three",)]),
)
REQUEST = SessionRequest("0x" + "ab" * 20, Path(hops=1), Path(hops=1))
STATES = st.sampled_from(["posting", "unknown", "registered", "closing", "left", "detached", "resting"])


@st.composite
def journals(draw: st.DrawFn) -> list[KnownJournal]:
    found = []
    for number in range(draw(st.integers(0, 3))):
        rows = tuple(
            JournalRow(id_, draw(STATES), "via", REQUEST, None, draw(st.none() | LISTENERS), 1.0)
            for id_ in range(draw(st.integers(0, 3)))
        )
        found.append(KnownJournal(f"i{number}", JournalLook(f"/{number}", "node", rows, draw(st.booleans()))))
    return found


GROUNDS = st.builds(
    Ground,
    st.just("i0"),
    st.sampled_from([None, OWN]),
    st.sampled_from([None, PortRange(2, 3), PortRange(2, 3, "127.0.0.1")]),
    st.booleans(),
)
#: A node has one listener a key.
LISTS = st.lists(LISTENERS, max_size=6, unique_by=lambda each: each.key)


def is_proved(sighting: Sighting, ground: Ground) -> bool:
    """Said again, in other words than the code's."""
    listener = sighting.listener
    assert listener is not None
    if sighting.proof is Proof.JOURNAL:
        assert sighting.row is not None
        known = sighting.row.listener
        assert known is not None
        same = known.key == listener.key and known.destination.lower() == listener.destination.lower()
        return same and listener.clients != () and known.clients == listener.clients
    if listener.key.protocol != "udp":
        return False
    if sighting.proof is Proof.ADDRESS:
        return listener.key.ip == ground.address
    ports = ground.ports
    return ports is not None and listener.key.port in (2, 3) and (ports.ip is None or ports.ip == listener.key.ip)


@given(LISTS, journals(), GROUNDS)
def test_nothing_is_ours_without_proof(listed: list[Listener], known: list[KnownJournal], ground: Ground) -> None:
    seen = survey(listed, known, ground)
    assert sorted((each.listener for each in seen if each.listener), key=lambda each: each.key) == sorted(
        listed, key=lambda each: each.key
    )
    for sighting in seen:
        if sighting.listener is not None and sighting.is_ours:
            assert is_proved(sighting, ground)
        if not sighting.is_ours:
            assert (sighting.proof, sighting.instance, sighting.row) == (None, None, None)
    # Ours first.
    assert [each.is_ours for each in seen] == sorted((each.is_ours for each in seen), reverse=True)


@given(LISTS, journals(), GROUNDS)
def test_every_row_is_shown_once(listed: list[Listener], known: list[KnownJournal], ground: Ground) -> None:
    seen = survey(listed, known, ground)
    shown = [(each.journal.look.path, each.row.id) for each in seen if each.journal and each.row]
    assert len(shown) == len(set(shown))
    named = {(journal.look.path, row.id) for journal in known for row in journal.look.rows}
    # A copy of a journal that is in use is that journal's.
    assert set(shown) <= named
    for journal in known:
        for row in journal.look.rows:
            is_listed = any(row.listener and each.clients and row.listener.same_as(each) for each in listed)
            assert is_listed or (journal.look.path, row.id) in shown


@given(LISTS, journals(), GROUNDS, st.booleans(), st.booleans())
def test_decisions(
    listed: list[Listener], known: list[KnownJournal], ground: Ground, named: bool, confirmed: bool
) -> None:
    seen = survey(listed, known, ground)
    for decision in decide_reap(seen):
        assert decision.sighting.owner in {Owner.ORPHAN, Owner.DETACHED, Owner.UNKNOWN}
        if decision.sighting.owner is Owner.UNKNOWN:
            assert decision.action is Action.KEEP
        if decision.sighting.owner is Owner.DETACHED and decision.sighting.listener is not None:
            assert decision.action is Action.KEEP
    for decision in decide_close(seen, named=named):
        assert decision.action is not Action.ASK
        if decision.action is Action.CLOSE:
            assert decision.sighting.owner in {Owner.ORPHAN, Owner.DETACHED} | ({Owner.UNKNOWN} if named else set())
    for decision in decide_close(seen, named=named, force=True, confirmed=confirmed):
        if decision.sighting.owner is Owner.STRANGER:
            assert decision.action is (Action.CLOSE if confirmed else Action.ASK)


def test_a_later_listener_on_the_port_of_ours_is_a_strangers() -> None:
    ours = Listener(
        ListenerKey("udp", "127.0.0.1", 5), REQUEST.destination, "#0", None, None, 1020, 395, clients=("one",)
    )
    row = JournalRow(1, "registered", "via", REQUEST, None, ours, 1.0)
    journal = KnownJournal("default", JournalLook("/j", "node", (row,), is_held=False))
    for later in (attrs.evolve(ours, clients=("two",)), attrs.evolve(ours, clients=())):
        remembered, stranger = survey([later], [journal], Ground("default"))
        assert (stranger.owner, remembered.owner, remembered.state) == (Owner.STRANGER, Owner.ORPHAN, "gone")
    nameless = attrs.evolve(journal.look, rows=(attrs.evolve(row, listener=attrs.evolve(ours, clients=())),))
    _, stranger = survey([ours], [attrs.evolve(journal, look=nameless)], Ground("default"))
    assert stranger.owner is Owner.STRANGER
    (same,) = survey([ours], [journal], Ground("default"))
    assert (same.owner, same.state) == (Owner.ORPHAN, "registered")


def test_what_a_running_instance_asked_for_a_moment_ago_is_no_orphan() -> None:
    request = attrs.evolve(REQUEST, listen_host=":5")
    new = Listener(
        ListenerKey("udp", "127.0.0.1", 5), request.destination, "#0", None, None, 1020, 395, clients=("one",)
    )
    row = JournalRow(1, "posting", "via", request, None, None, 1.0)
    ground = Ground("default", ports=PortRange(5, 6))
    for is_held, owner in ((True, Owner.RUNNING), (False, Owner.UNKNOWN)):
        journal = KnownJournal("open", JournalLook("/j", "node", (row,), is_held))
        (seen,) = (each for each in survey([new], [journal], ground) if each.listener)
        assert seen.owner is owner
    elsewhere = attrs.evolve(new, key=ListenerKey("udp", "127.0.0.1", 6))
    journal = KnownJournal("open", JournalLook("/j", "node", (row,), is_held=True))
    (seen,) = (each for each in survey([elsewhere], [journal], ground) if each.listener)
    assert seen.owner is Owner.UNKNOWN


def test_what_only_its_port_says_is_ours_may_be_a_runs_and_is_no_orphan() -> None:
    """A run without a journal leaves no other trace."""
    there = Listener(ListenerKey("udp", "127.0.0.1", 5), REQUEST.destination, "#0", None, None, 1020, 395)
    ports = PortRange(5, 6)
    (found,) = survey([there], [], Ground("default", ports=ports))
    assert (found.owner, found.instance, found.proof, found.state) == (Owner.UNKNOWN, None, Proof.PORT, "no journal")
    assert found.is_ours
    (held,) = survey([there], [], Ground("default", ports=ports, is_held=True))
    assert (held.owner, held.instance) == (Owner.RUNNING, "default")


def test_a_port_that_rests_is_no_orphan_says_where_and_until_when_and_is_forgotten_then() -> None:
    def rests(age: float | None, id_: int = 1) -> JournalRow:
        return JournalRow(id_, "resting", "via", attrs.evolve(REQUEST, listen_host=f":{4 + id_}"), None, None, age)

    for is_held in (False, True):
        look = JournalLook("/j", "node", (rests(40.0), rests(209.9, 2), rests(210.0, 3), rests(None, 4)), is_held)
        seen = survey([], [KnownJournal("default", look)], Ground("default"))
        assert {each.owner for each in seen} == {Owner.RESTING}
        assert [each.rests_at for each in seen] == [":5", ":6", ":8"]
        assert [each.free_in and round(each.free_in, 1) for each in seen] == [170.0, 0.1, None]
        assert decide_reap(seen) == decide_close(seen, named=False) == []
