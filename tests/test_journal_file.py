"""The journal's file: what was committed is there again, whatever happens; what is not a journal stays as it is."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path as File
from typing import Any

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from trio_sessions import InstanceInUseError, InvalidInputError, JournalError, SessionsError, _journal_file
from trio_sessions._journal_codec import (
    dump_listener,
    dump_listeners,
    dump_request,
    load_listener,
    load_listeners,
    load_request,
)
from trio_sessions._journal_file import JournalFile
from trio_sessions._journal_row import JournalRow
from trio_sessions._listeners import ListenerState
from trio_sessions._model import Capability, Listener, ListenerKey, Path, SessionRequest

NODE = "127.0.0.1:3001"
A, B = "0x" + "a" * 40, "0x" + "B" * 40
VIA = Path(via=(B,))
REQUEST = SessionRequest(A, VIA, VIA, listen_host="127.1.2.3:0")
LISTENER = Listener(ListenerKey("udp", "127.1.2.3", 9091), A, "#0", VIA, None, 1002, 395, ("7",))


def row(id_: int, state: str = "posting", **changes: Any) -> JournalRow:
    return attrs.evolve(JournalRow(id_, state, f"via {B}", REQUEST, (), None), **changes)


def ageless(rows: tuple[JournalRow, ...]) -> list[JournalRow]:
    return [attrs.evolve(row, age=None) for row in rows]


def open_journal(path: File, node: str = NODE) -> closing[JournalFile]:
    return closing(JournalFile.open(str(path), node))


def held_rows(path: File) -> list[JournalRow]:
    with open_journal(path) as journal:
        return ageless(journal.rows())


@pytest.fixture
def path(tmp_path: File) -> File:
    return tmp_path / "journal.db"


@pytest.fixture
def written(path: File) -> File:
    """A closed journal of three rows."""
    with open_journal(path) as journal:
        journal.commit({1: row(1), 2: row(2, "left", before=None), 3: row(3, "registered", listener=LISTENER)})
    return path


@contextmanager
def sql(path: File) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        yield db


def contents(path: File) -> dict[str, bytes]:
    """What is in the file and in those beside it; the -shm is an index of the -wal, and free to change."""
    beside = (file for file in path.parent.iterdir() if not file.name.endswith(("-shm", ".lock")) and file.is_file())
    return {file.name: file.read_bytes() for file in beside}


@contextmanager
def no_fds_left() -> Iterator[None]:
    before = sorted(os.listdir("/proc/self/fd"))
    yield
    assert sorted(os.listdir("/proc/self/fd")) == before


def refusal(path: File, node: str = NODE) -> SessionsError:
    """The error of opening, which has changed nothing and, where no other one does, does not hold the lock."""
    before = contents(path)
    with pytest.raises(SessionsError) as caught:
        JournalFile.open(str(path), node)
    assert contents(path) == before
    assert_clear(caught.value, path)
    lock = path.with_name(f"{path.name}.lock")
    if lock.exists() and not isinstance(caught.value, InstanceInUseError):
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return caught.value


def assert_clear(error: SessionsError, path: File) -> None:
    """It is of one line, which names the file, what is wrong with it and what to do."""
    text = str(error)
    assert "\n" not in text
    assert str(path) in text or isinstance(error, InvalidInputError)
    assert len(text) < 200 + len(str(path))
    assert getattr(error, "remedy", "")


# -- what is written is read


addresses = st.integers(0, 2**160 - 1).map("0x{:040x}".format)
paths = st.one_of(
    st.integers(0, 3).map(Path),
    st.lists(addresses, min_size=1, max_size=3).map(lambda via: Path(via=tuple(via))),
)
protocols = st.sampled_from(["udp", "tcp"])
amounts = st.none() | st.integers(0, 2**64 - 1)
ports = st.integers(1, 65535)
#: With the lone surrogates that a JSON reply of a node may hold.
texts = st.text(st.characters())


def routed(request: dict[str, Any]) -> bool:
    return request["destination"] not in {*request["forward"].via, *request["back"].via}


def asked(fields: dict[str, Any]) -> SessionRequest:
    return SessionRequest(**fields)


requests: st.SearchStrategy[SessionRequest] = (
    st.fixed_dictionaries(
        {
            "destination": addresses,
            "forward": paths,
            "back": paths,
            "target": st.integers(0, 2**32 - 1) | st.tuples(texts.filter(bool), ports).map("{0[0]}:{0[1]}".format),
            "protocol": protocols,
            "listen_host": st.sampled_from([None, "127.1.2.3", "127.1.2.3:0", ":9091", "[::1]:9091"]),
            "capabilities": st.frozensets(st.sampled_from(Capability)),
            "response_buffer": amounts,
            "max_surb_upstream": amounts,
        }
    )
    .filter(routed)
    .map(asked)
)
listeners: st.SearchStrategy[Listener] = st.builds(
    Listener,
    key=st.builds(ListenerKey, protocols, texts, ports),
    destination=texts,
    target=texts,
    forward=st.none() | paths,
    back=st.none() | paths,
    hopr_mtu=st.integers(),
    surb_len=st.integers(),
    clients=st.lists(texts, max_size=3).map(tuple),
    max_clients=st.integers(),
    max_surb_upstream=st.none() | texts,
    response_buffer=st.none() | texts,
)
states = st.sampled_from(["posting", "unknown", "registered", "closing", "left"])


@given(requests)
def test_a_request_is_read_as_it_was_written(request: SessionRequest) -> None:
    assert load_request(dump_request(request)) == request


@settings(max_examples=50)
@given(st.lists(listeners, max_size=2).map(tuple))
def test_listeners_are_read_as_they_were_written(some: tuple[Listener, ...]) -> None:
    assert load_listeners(dump_listeners(some)) == some
    assert tuple(load_listener(dump_listener(listener)) for listener in some) == some


def test_every_field_is_written() -> None:
    assert len(json.loads(dump_request(REQUEST))) == len(attrs.fields(SessionRequest))
    # The key is three of them.
    assert len(json.loads(dump_listener(LISTENER))) == len(attrs.fields(Listener)) + 2


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.none() | st.text()))


@given(st.data(), st.sampled_from([(load_request, dump_request(REQUEST)), (load_listener, dump_listener(LISTENER))]))
def test_another_shape_is_a_value_error_of_one_line(data: st.DataObject, codec: tuple[Any, str]) -> None:
    load, text = codec
    record = json.loads(text)
    name = data.draw(st.sampled_from([*record, "another"]))
    record[name] = data.draw(values | st.dictionaries(st.sampled_from(["hops", "via"]), values))
    problem = None
    try:
        load(json.dumps(record))
    except ValueError as error:
        problem = str(error)
    assert problem is not None or name != "another"
    assert problem is None or "\n" not in problem


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "NaN", "[" * 100_000, "9" * 5000, '{"hops": 1}', dump_listener(LISTENER)[:-1]],
    ids=lambda text: text[:20] or "nothing",
)
def test_what_is_no_record_is_a_value_error_of_one_line(text: str) -> None:
    for load in (load_request, load_listener):
        with pytest.raises(ValueError, match=r"^[^\n]{,250}$"):
            load(text)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("port", "9091", "its port is of another type"),
        ("port", True, "its port is of another type"),
        ("protocol", "sctp", "its protocol is neither udp nor tcp"),
        ("protocol", ["udp"], "its protocol is neither udp nor tcp"),
        ("clients", ["a", 1], "its clients are not all strings"),
        ("clients", "ab", "its clients is of another type"),
        ("forward", 1, "it is not an object of hops, via"),
        ("forward", {"hops": 4, "via": []}, "hops 4: must be 0 to 3"),
    ],
)
def test_a_field_of_another_shape_is_named(name: str, value: object, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        load_listener(json.dumps(json.loads(dump_listener(LISTENER)) | {name: value}))


def test_port_0_is_never_read() -> None:
    zero = dump_listener(attrs.evolve(LISTENER, key=ListenerKey("udp", "127.1.2.3", 0)))
    with pytest.raises(ValueError, match="its port is not 1 to 65535"):
        load_listener(zero)
    with pytest.raises(ValueError, match="not a list"):
        load_listeners(zero)


# -- what is committed is there


def test_a_new_journal_is_empty_and_ours_alone(path: File) -> None:
    with open_journal(path) as journal:
        assert journal.rows() == ()
        assert journal.next_id == 1
        assert journal.path == str(path)
        journal.commit({})
        journal.commit({1: row(1)})
        assert {file.name: oct(file.stat().st_mode) for file in path.parent.iterdir()} == {
            f"journal.db{suffix}": "0o100600" for suffix in ("", "-wal", "-shm", ".lock")
        }


def test_an_empty_file_becomes_a_journal(path: File) -> None:
    path.touch()
    with open_journal(path) as journal:
        journal.commit({1: row(1)})
    assert held_rows(path) == [row(1)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_followed(path: File, tmp_path: File) -> None:
    folder = tmp_path / "elsewhere with ?, # and %41"
    folder.mkdir()
    path.symlink_to(folder / "real.db")
    with open_journal(path) as journal:
        journal.commit({1: row(1)})
        assert isinstance(refusal(folder / "real.db"), InstanceInUseError)
    assert path.is_symlink()
    assert held_rows(folder / "real.db") == [row(1)]


def test_what_a_killed_creation_left_is_in_nobodys_way(path: File) -> None:
    path.with_name("journal.db.new").write_bytes(b"half a journal")
    assert held_rows(path) == []
    assert sorted(os.listdir(path.parent)) == ["journal.db", "journal.db.lock"]


def test_what_a_deleted_journal_left_is_not_played_into_a_new_one(path: File, tmp_path: File) -> None:
    with open_journal(path) as journal:
        journal.commit({1: row(1)})
        folder = tmp_path / "copy"
        folder.mkdir()
        for suffix in ("-wal", "-shm"):
            shutil.copy(f"{path}{suffix}", folder)
    assert held_rows(folder / path.name) == []


def test_rows_come_in_order_and_a_commit_replaces_and_deletes(path: File) -> None:
    with open_journal(path) as journal:
        journal.commit({id_: row(id_) for id_ in (3, 1, 2)})
        journal.commit({2: None, 9: None, 1: row(1, "registered", listener=LISTENER, route="ü", before=(LISTENER,))})
        expected = [row(1, "registered", listener=LISTENER, route="ü", before=(LISTENER,)), row(3)]
        assert ageless(journal.rows()) == expected
    assert held_rows(path) == expected


def test_ids_are_never_used_again(path: File) -> None:
    with open_journal(path) as journal:
        journal.commit({7: row(7)})
        assert journal.next_id == 8
        journal.commit({7: None, 100: None})
        assert journal.next_id == 8
    with open_journal(path) as journal:
        assert journal.next_id == 8
        journal.commit({3: row(3)})
        assert journal.next_id == 8


changes = st.dictionaries(
    st.integers(1, 5),
    st.none() | st.tuples(states, st.text(), requests, st.none() | st.lists(listeners, max_size=2), listeners),
    max_size=4,
)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(changes, max_size=3), max_size=3))
def test_any_commits_make_what_a_dict_makes_of_them(runs: list[list[dict[int, Any]]]) -> None:
    model: dict[int, JournalRow] = {}
    highest = 0
    with tempfile.TemporaryDirectory() as folder:
        path = File(folder, "journal.db")
        for commits in runs:
            with open_journal(path) as journal:
                assert journal.next_id == highest + 1
                for drawn in commits:
                    change = {id_: None if it is None else made(id_, *it) for id_, it in drawn.items()}
                    journal.commit(change)
                    model = {id_: row for id_, row in (model | change).items() if row is not None}
                    highest = max([highest, *(id_ for id_, row in change.items() if row is not None)])
                    assert journal.next_id == highest + 1
                assert ageless(journal.rows()) == [model[id_] for id_ in sorted(model)]
        assert held_rows(path) == [model[id_] for id_ in sorted(model)]


def made(
    id_: int, state: str, route: str, request: SessionRequest, before: list[Listener] | None, listener: Listener
) -> JournalRow:
    alike = None if before is None else tuple(before)
    return JournalRow(id_, state, route, request, alike, None if state in {"posting", "unknown"} else listener)


def test_the_states_are_those_in_which_the_node_may_have_the_listener() -> None:
    for state in ListenerState:
        if state in {ListenerState.INTENT, ListenerState.GONE}:
            with pytest.raises(
                ValueError, match="its state is none of closing, detached, left, posting, registered, resting, unknown"
            ):
                row(1, state.value)
        else:
            assert row(1, state.value).state == state.value


def test_threads_may_take_turns(path: File) -> None:
    journals: list[JournalFile] = []
    for work in (
        lambda: journals.append(JournalFile.open(str(path), NODE)),
        lambda: journals[0].commit({1: row(1)}),
        lambda: journals.pop().close(),
    ):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert held_rows(path) == [row(1)]


def test_others_may_read_while_we_write(path: File) -> None:
    with open_journal(path) as journal, sql(path) as reader:
        journal.commit({1: row(1)})
        reader.execute("BEGIN")
        assert reader.execute("SELECT id, state FROM listener").fetchall() == [(1, "posting")]
        journal.commit({1: row(1, "left")})
        assert reader.execute("SELECT id, state FROM listener").fetchall() == [(1, "posting")]
        reader.execute("COMMIT")
        assert reader.execute("SELECT id, state FROM listener").fetchall() == [(1, "left")]


def test_closing_is_idempotent_and_a_closed_journal_says_so(path: File) -> None:
    with no_fds_left():
        journal = JournalFile.open(str(path), NODE)
        journal.close()
        journal.close()
    for use in (journal.rows, lambda: journal.commit({1: row(1)})):
        with pytest.raises(JournalError, match="closed database") as caught:
            use()
        assert_clear(caught.value, path)


# -- how old a row is


def test_age_counts_from_the_first_write(path: File) -> None:
    with open_journal(path) as journal:
        journal.commit({1: row(1)})
        (young,) = journal.rows()
        journal.commit({1: row(1, "left", age=1e6), 2: row(2)})
        old, new = journal.rows()
    assert old.age is not None
    assert new.age is not None
    assert young.age is not None
    assert 0 <= young.age <= old.age < 60
    assert new.age <= old.age
    with sql(path) as db:
        db.execute("UPDATE listener SET at = at - 1000 WHERE id = 1")
    with open_journal(path) as journal:
        journal.commit({1: row(1)})
        old, _ = journal.rows()
        assert old.age is not None
        assert 1000 <= old.age < 1060


@pytest.mark.parametrize(
    "change",
    ["boot = 'another'", "boot = ''", "at = at + 1000", "at = 'noon'", "at = 9e999"],
    ids=["another boot", "unknown boot", "in the future", "no time", "never"],
)
def test_age_is_unknown_across_boots(written: File, change: str) -> None:
    with sql(written) as db:
        db.execute(f"UPDATE listener SET {change} WHERE id = 2")
    with open_journal(written) as journal:
        assert [row.age is None for row in journal.rows()] == [False, True, False]


# -- one owner


def test_a_second_one_is_refused_and_harms_nothing(path: File) -> None:
    with no_fds_left(), open_journal(path) as journal:
        journal.commit({1: row(1)})
        with pytest.raises(InstanceInUseError) as caught:
            JournalFile.open(str(path), NODE)
        assert_clear(caught.value, path)
        assert caught.value.what == f"the journal {path}"
        # Had the refused one dropped our POSIX locks, a reader that leaves would take the -wal for its own.
        look = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM meta'); db.close()"
        subprocess.run([sys.executable, "-I", "-c", look, str(path)], check=True)
        journal.commit({2: row(2)})
        assert path.with_name("journal.db-wal").exists()
    assert held_rows(path) == [row(1), row(2)]


#: Commits rows, two at a time, and says so after each commit, until it is killed.
COMMITTER = """
import sys
from tests.test_journal_file import JournalFile, NODE, row
journal = JournalFile.open(sys.argv[1], NODE)
while True:
    id_ = journal.next_id
    journal.commit({id_: row(id_), id_ + 1: row(id_ + 1), id_ - 20: None})
    print(id_ + 1, flush=True)
"""


def test_what_a_killed_process_committed_is_there(path: File) -> None:
    with subprocess.Popen([sys.executable, "-c", COMMITTER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        with pytest.raises(InstanceInUseError):
            JournalFile.open(str(path), NODE)
        process.send_signal(signal.SIGKILL)
        last = [int(line) for line in process.stdout.read().split()][-1:] or [40]
    with open_journal(path) as journal:
        ids = [row.id for row in journal.rows()]
        # The next commit may have been done, too, and its report lost: but then all of it.
        assert ids[-1] in (last[0], last[0] + 2)
        assert ids == sorted({*range(2, ids[-1] - 20, 2), *range(max(1, ids[-1] - 20), ids[-1] + 1)} - {0})
        assert all(row.age is not None for row in journal.rows())
        assert journal.next_id == ids[-1] + 1


def test_a_torn_log_is_read_up_to_the_last_whole_commit(path: File, tmp_path: File) -> None:
    wal = path.with_name("journal.db-wal")
    folder = tmp_path / "copy"
    folder.mkdir()
    with open_journal(path) as journal:
        sizes = []
        for id_ in range(1, 5):
            journal.commit({id_: row(id_)})
            sizes.append(wal.stat().st_size)
        main, log = path.read_bytes(), wal.read_bytes()
    assert sizes[-1] == len(log)
    cuts = {cut + off for cut in sizes for off in (-2000, -1, 0)} | {0, 10, 40}
    for cut in sorted(cuts):
        (folder / path.name).write_bytes(main)
        (folder / wal.name).write_bytes(log[:cut])
        assert held_rows(folder / path.name) == [row(id_) for id_, size in enumerate(sizes, 1) if size <= cut]


# -- what is refused stays as it was


def test_places_for_no_file(tmp_path: File) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    (tmp_path / "file").write_text("some text")
    for name, rule in {
        "": "is a folder",
        "/dev/null": "is not a regular file",
        "pipe": "is not a regular file",
        "socket": "is not a regular file",
        "none/journal.db": "its folder does not exist",
        "file/journal.db": "its folder does not exist",
    }.items():
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(InvalidInputError) as caught:
            JournalFile.open(str(tmp_path / name), NODE)
        assert_clear(caught.value, tmp_path)
        assert (caught.value.what, caught.value.value, caught.value.rule) == ("journal", str(tmp_path / name), rule)
        assert sorted(os.listdir(tmp_path)) == before


def test_a_name_too_long_is_one_of_the_other_errors(tmp_path: File) -> None:
    with pytest.raises(JournalError) as caught:
        JournalFile.open(str(tmp_path / ("x" * 252)), NODE)
    assert caught.value.problem == "it cannot be used (File name too long)"


def as_nobody(work: Callable[[], list[str]]) -> list[str]:
    """What ``work`` returns when no file is ours: in a child, if we are root."""
    if os.getuid() != 0:
        return work()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:  # noqa: BLE001 - the child ends here, so tell the parent
            os.write(writer, json.dumps([repr(error)]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        found: list[str] = json.load(pipe)
    os.waitpid(child, 0)
    return found


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_files_and_folders_of_others() -> None:
    # Nobody can look into tmp_path.
    with tempfile.TemporaryDirectory() as folder:
        places = {}
        for name, mode, folder_mode in [
            ("unreadable", 0, 0o755),
            ("read-only", 0o444, 0o755),
            ("empty", 0o444, 0o755),
            ("missing", None, 0o555),
            ("hidden", 0o666, 0),
        ]:
            place = places[name] = File(folder, name, "journal.db")
            place.parent.mkdir()
            if name == "empty":
                place.touch()
            elif mode is not None:
                held_rows(place)
                # The other one has not left us its lock file.
                place.with_name("journal.db.lock").unlink()
            if mode is not None:
                place.chmod(mode)
            place.parent.chmod(folder_mode)
        os.chmod(folder, 0o755)

        def work() -> list[str]:
            errors = []
            for place in places.values():
                with no_fds_left(), pytest.raises(InvalidInputError) as caught:
                    JournalFile.open(str(place), NODE)
                errors.append(f"{caught.value.rule}; {caught.value.remedy}")
            return errors

        try:
            rule = "the file or its folder may not be read or written by this user"
            assert as_nobody(work) == [f"{rule}; change its rights, or name another file"] * len(places)
        finally:
            for place in places.values():
                place.parent.chmod(0o700)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_file_of_others_beside_a_lock_that_is_not() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        full, empty = File(folder, "journal.db"), File(folder, "empty.db")
        held_rows(full)
        empty.touch()
        for place in (full, empty):
            place.chmod(0o444)
            lock = place.with_name(f"{place.name}.lock")
            lock.touch()
            lock.chmod(0o666)
        # Without the right to put a new file there, either; so it is for the files' owner, too.
        os.chmod(folder, 0o555)
        try:
            texts = as_nobody(lambda: [str(refusal(full)), str(refusal(empty))])
        finally:
            os.chmod(folder, 0o755)
        assert len(texts) == 2
        assert all("may not be read or written by this user" in text for text in texts)


#: In a mount namespace of its own: a file system that is full, then one that is read-only.
MOUNTER = """
import json, os, subprocess, sys
from tests.test_journal_file import JournalError, JournalFile, NODE, ageless, refusal, row, File
path = File(sys.argv[1], "journal.db")
def mount(*options):
    subprocess.run(["mount", "-t", "tmpfs", "-o", *options, "none", sys.argv[1]], check=True)
mount("size=256k")
journal = JournalFile.open(str(path), NODE)
journal.commit({1: row(1)})
with open(path.with_name("filler"), "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
found = []
try:
    journal.commit({id_: row(id_) for id_ in range(2, 100)})
except JournalError as error:
    found.append(error.problem)
assert ageless(journal.rows()) == [row(1)]
path.with_name("filler").unlink()
journal.commit({2: row(2)})
assert ageless(journal.rows()) == [row(1), row(2)]
journal.close()
mount("remount,size=256k,ro")
found.append(refusal(path).problem)
found.append(refusal(path.with_name("another.db")).problem)
print(json.dumps(found))
"""


def test_a_full_and_a_read_only_file_system(tmp_path: File) -> None:
    apart = ["unshare", "-m"]
    if subprocess.run(
        [*apart, "mount", "-t", "tmpfs", "none", str(tmp_path)], check=False, capture_output=True
    ).returncode:
        pytest.skip("we may not mount")
    command = [*apart, sys.executable, "-c", MOUNTER, str(tmp_path)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert json.loads(done.stdout) == [
        "there is no room to write to it (database or disk is full)",
        "it is read-only (Read-only file system)",
        "it is read-only (Read-only file system)",
    ]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes; Python ignores the signal, so writing fails with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_at_the_opening(tmp_path: File) -> None:
    outcomes = []
    for size in range(0, 60_000, 4096):
        folder = tmp_path / str(size)
        folder.mkdir()
        path = folder / "journal.db"
        try:
            with no_fds_left(), file_size_limit(size):
                JournalFile.open(str(path), NODE).close()
            outcomes.append("")
        except JournalError as error:
            assert_clear(error, path)
            outcomes.append(error.problem)
        assert not path.with_name("journal.db.new").exists()
        assert held_rows(path) == []
    assert outcomes == sorted(outcomes, reverse=True)
    assert set(outcomes) == {"", "there is no room to write to it (disk I/O error)"}


def test_no_room_for_a_commit_stores_nothing_of_it(path: File) -> None:
    wal = path.with_name("journal.db-wal")
    with open_journal(path) as journal:
        journal.commit({1: row(1), 2: row(2)})
        for room in (0, 4096, 3 * 4120 + 100):
            with file_size_limit(wal.stat().st_size + room), pytest.raises(JournalError) as caught:
                journal.commit({1: None, 2: row(2, "left")} | {id_: row(id_) for id_ in range(10, 50)})
            assert caught.value.problem == "there is no room to write to it (disk I/O error)"
            assert_clear(caught.value, path)
            assert ageless(journal.rows()) == [row(1), row(2)]
            assert journal.next_id == 3
        with sql(path) as reader:
            assert reader.execute("SELECT count(*) FROM listener").fetchall() == [(2,)]
        journal.commit({1: None, 3: row(3)})
    assert held_rows(path) == [row(2), row(3)]


def test_locked_by_another_program(written: File, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sessions._journal_sqlite._BUSY_TIMEOUT", 0.02)
    # SQLite keeps files open until the process has no lock on them any more.
    with no_fds_left(), sql(written) as other:
        other.execute("BEGIN EXCLUSIVE")
        error = refusal(written)
        assert isinstance(error, JournalError)
        assert error.problem == "it is locked by another program (database is locked)"
        other.execute("COMMIT")
        with open_journal(written) as journal:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked by another program"):
                journal.commit({1: None})
            other.execute("COMMIT")
            assert len(journal.rows()) == 3
            journal.commit({1: None})
            assert len(journal.rows()) == 2


def copied(path: File, folder: File) -> File:
    """A copy of a database that is in use, log included."""
    folder.mkdir()
    shutil.copy(path, folder)
    shutil.copy(f"{path}-wal", folder)
    return folder / path.name


def test_a_database_of_another_program(path: File, tmp_path: File) -> None:
    with sql(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE bookmarks (url TEXT)")
        db.execute("INSERT INTO bookmarks VALUES ('https://example.org')")
        in_use = copied(path, tmp_path / "copy")
    for place in (path, in_use):
        files = sorted(os.listdir(place.parent))
        error = refusal(place)
        assert isinstance(error, JournalError)
        assert error.problem == "it is not a journal of this program"
        # Not even a lock file.
        assert sorted(os.listdir(place.parent)) == files


@pytest.mark.parametrize("text", [b"x", b"some text\n" * 1000, bytes(5000), b"SQLite format 3\0" + b"x" * 200])
def test_a_file_of_another_kind(path: File, text: bytes) -> None:
    path.write_bytes(text)
    error = refusal(path)
    assert isinstance(error, JournalError)
    assert error.problem.startswith("it is not a journal of this program")
    assert os.listdir(path.parent) == ["journal.db"]


def change(path: File, statement: str) -> None:
    with sql(path) as db:
        db.create_function("sum_of", 6, _journal_file._checksum)
        db.execute(statement)


SUMMED = "checksum = sum_of(id, {}) WHERE id = 2"


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("PRAGMA user_version = 2", "it was written by a newer version (schema 2, known is 1)"),
        ("PRAGMA user_version = 0", "it is damaged"),
        ("PRAGMA application_id = 1", "it is not a journal of this program"),
        ("DROP TABLE meta", "it is not a journal of this program (no such table: meta)"),
        ("ALTER TABLE listener DROP COLUMN boot", "it is not a journal of this program (no such column: boot)"),
        ("UPDATE meta SET value = '10.0.0.1:3001'", f"it belongs to '10.0.0.1:3001', not to '{NODE}'"),
        ("DELETE FROM meta", f"it belongs to no node, not to '{NODE}'"),
        ("UPDATE listener SET state = 'left' WHERE id = 1", "its row 1 is damaged: its checksum is wrong"),
        ("UPDATE listener SET id = 4 WHERE id = 1", "its row 4 is damaged: its checksum is wrong"),
        ("UPDATE listener SET route = x'ff' WHERE id = 1", "its row 1 is damaged: its checksum is wrong"),
        (
            "UPDATE listener SET state = 'lost', " + SUMMED.format("'lost', route, request, alike, listener"),
            "its row 2 is damaged: its state is none of closing, detached, left, posting, registered, resting, unknown",
        ),
        (
            "UPDATE listener SET request = '[', " + SUMMED.format("state, route, '[', alike, listener"),
            "its row 2 is damaged: it is not JSON: Expecting value: line 1 column 2 (char 1)",
        ),
    ],
    ids=lambda value: value.partition(" WHERE")[0].partition(", checksum")[0],
)
def test_a_journal_that_makes_no_sense(written: File, tmp_path: File, statement: str, problem: str) -> None:
    with sql(written) as keeper:
        # Once with the change in the file, and once with the change in its log.
        keeper.execute("SELECT * FROM listener").fetchall()
        change(written, statement)
        logged = copied(written, tmp_path / "copy")
    # Whose file it is stands in the file, and nowhere else.
    for place in (written,) if "application_id" in statement else (written, logged):
        with no_fds_left():
            error = refusal(place)
        assert isinstance(error, JournalError)
        assert error.problem == problem
        assert str(error) == f"journal {place}: {error.problem}; {error.remedy}"


def test_a_file_that_was_cut(written: File) -> None:
    whole = written.read_bytes()
    for size in [1, 50, 100, *range(512, len(whole), 512), len(whole) - 1]:
        written.write_bytes(whole[:size])
        error = refusal(written)
        assert isinstance(error, JournalError)
        assert error.problem.startswith(("it is damaged", "it is not a journal")), size
    written.write_bytes(whole)
    assert len(held_rows(written)) == 3


def test_a_page_that_is_rubbish(written: File) -> None:
    whole = written.read_bytes()
    for page in range(1, len(whole) // 4096):
        rubbish = bytearray(whole)
        for at in range(page * 4096, (page + 1) * 4096, 3):
            rubbish[at] ^= 0x55
        written.write_bytes(rubbish)
        error = refusal(written)
        assert isinstance(error, JournalError)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (b"state TEXT", b'state "EXT'),
        (b"state TEXT", b"state,TEXT"),
        (b"state TEXT", b"stale TEXT"),
        # Quoted by SQLite in what Python cannot decode.
        (b"tablelistener", b"tableli\xf3tener"),
    ],
    ids=["a quote", "a comma", "another name", "no UTF-8"],
)
def test_a_table_that_is_rubbish(written: File, was: bytes, now: bytes) -> None:
    written.write_bytes(written.read_bytes().replace(was, now))
    error = refusal(written)
    assert isinstance(error, JournalError)
    assert error.problem.startswith(("it is damaged", "it is not a journal of this program"))


SOUND = [row(1, before=(LISTENER,)), row(2, "left", listener=LISTENER)]


@cache
def sound_journal() -> bytes:
    """The file of a closed journal."""
    with tempfile.TemporaryDirectory() as folder:
        path = File(folder, "journal.db")
        with open_journal(path) as journal:
            journal.commit({it.id: it for it in SOUND})
        return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**16), st.integers(0, 7))
def test_a_flipped_bit_never_makes_another_row(at: int, bit: int) -> None:
    """It is refused, or it made no difference."""
    flipped = bytearray(sound_journal())
    used = [at for at, byte in enumerate(flipped) if byte]
    flipped[used[at % len(used)]] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        path = File(folder, "journal.db")
        path.write_bytes(flipped)
        try:
            found = held_rows(path)
        except JournalError as error:
            found = SOUND
            assert path.read_bytes() == flipped
            assert_clear(error, path)
        assert found == SOUND
