"""``python -m tests.mutants.planted``: the bugs of the replaced program and of its successor, planted one at a time.

Each is put into our code in the way that it could come about there, and a test that is named with it must fail with it
and pass without.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import attrs

from tests.mutants.crew import Ended, in_forks
from tests.mutants.inject import Functions
from tests.mutants.pytest_runs import Collected, with_items

__all__ = ["BUGS", "Bug"]

_ROOT = Path(__file__).parent.parent.parent
#: Seconds that a test may take, with the bug or without.
_LONGEST = 20.0
_NOT = "NOT CAUGHT:"


@attrs.frozen
class Bug:
    """One bug.

    Attributes:
        name: what is wrong.
        file: in which file it is planted.
        before: the lines that are right; they stand there once.
        after: what stands there instead.
        test: the test that notices.
    """

    name: str
    file: str
    before: str
    after: str
    test: str

    def plant(self, source: str) -> str:
        """The source with the bug.

        Raises:
            ValueError: the source is not what the bug was made for.
        """
        if source.count(self.before) != 1:
            raise ValueError(f"{self.file} has changed: where shall {self.name!r} be planted?")
        return source.replace(self.before, self.after)


_SCENARIOS = "tests/test_scenarios.py::"
_MATRIX = "tests/matrix/test_rows_01_to_18.py::"

BUGS = (
    # -- of the replaced program
    Bug(
        "a session is closed the moment that its peer is out of sight",
        "trio_sessions/_keeper.py",
        "            self._reachable = reachable\n            if self._ending is None:\n",
        "            self._reachable = reachable\n            if not reachable:\n"
        "                self.tell(EndReason.UNWANTED)\n            if self._ending is None:\n",
        _SCENARIOS + "test_session_kept_when_its_peer_is_temporarily_unreachable",
    ),
    Bug(
        "no grace period: it is over at once",
        "trio_sessions/_keeper.py",
        "with trio.move_on_after(self._around.grace_period) as grace:",
        "with trio.move_on_after(0) as grace:",
        _SCENARIOS + "test_session_persists_through_the_grace_period_and_ends_exactly_at_its_end",
    ),
    Bug(
        "no grace period: it is never over",
        "trio_sessions/_keeper.py",
        "with trio.move_on_after(self._around.grace_period) as grace:",
        "with trio.move_on_after(inf) as grace:",
        _MATRIX + "test_row_18_the_grace_boundary[1-lives3-shared]",
    ),
    Bug(
        "a dictionary changes while it is iterated",
        "trio_sessions/_pool.py",
        "return tuple(keeper.info for keeper in self._keepers)",
        "return (keeper.info for keeper in self._keepers)",
        _SCENARIOS + "test_registry_changed_while_iterated",
    ),
    Bug(
        "a session is orphaned when the closing call fails",
        "trio_sessions/_closer.py",
        "                await self._hurry.pause(pause.next())\n                await self._outage.wait_after(error)\n",
        "                self._claims.give_up(claim)\n                return\n",
        _SCENARIOS + "test_orphaned_session_when_the_closing_call_fails_is_retried_until_gone[500 thrice]",
    ),
    Bug(
        "a stop that cleans up nothing",
        "trio_sessions/_keeper.py",
        "                link.close()\n                self._hand_over(claim, link)\n",
        "                if self.reason is not EndReason.STOPPED:\n"
        "                    link.close()\n                    self._hand_over(claim, link)\n",
        _SCENARIOS + "test_stop_cleans_up_every_session_and_socket",
    ),
    # -- of its successor
    Bug(
        "the loser of an open race never closes its listener: an end came before the reply",
        "trio_sessions/_janitor.py",
        "            if claim.abandoned:\n                self.release(claim, alive_at=trio.current_time())\n",
        "            if claim.abandoned:\n                pass\n",
        "tests/test_pool.py::test_stop_during_a_post[0.5]",
    ),
    Bug(
        "the loser of an open race never closes its listener: two who ask at once open two",
        "trio_sessions/_pool.py",
        "keeper = self._current.get(route.key) or self._start(route)",
        "keeper = self._start(route)",
        _SCENARIOS + "test_concurrent_access_to_sessions",
    ),
    Bug(
        "a list that is read after a session opened kills it",
        "trio_sessions/_pool.py",
        "        missing = self._missing(watched, listing)\n        if not missing:\n            return\n",
        "        missing = self._missing(self._listening(), listing)\n"
        "        for keeper in missing:\n            keeper.tell(EndReason.LISTENER_GONE)\n        if missing:\n"
        "            return\n",
        _MATRIX + "test_row_07_a_list_fetched_before_and_read_after_a_session_opened[0.4-shared]",
    ),
    Bug(
        "a DELETE that failed is forgotten",
        "trio_sessions/_closer.py",
        "                await self._hurry.pause(pause.next())\n                await self._outage.wait_after(error)\n",
        "                self._claims.apply(claim, ListenerEvent.CONFIRMED)\n                return\n",
        _SCENARIOS + "test_orphaned_session_when_the_closing_call_fails_for_ever_is_named",
    ),
    Bug(
        "a stop takes what is open, and leaves what POSTs in flight make afterwards",
        "trio_sessions/_keeper.py",
        "        except BaseException:\n            around.janitor.release(claim, alive_at=trio.current_time())\n",
        "        except SessionsError:\n            around.janitor.release(claim, alive_at=trio.current_time())\n",
        "tests/test_pool.py::test_stop_during_a_post[0.999]",
    ),
    Bug(
        "a full send buffer drops messages silently",
        "trio_sessions/_link.py",
        "        except OSError as error:\n            wait = self._what_to_wait_for(error)\n        else:\n",
        "        except BlockingIOError:\n            batch.departed(stop - batch.sent, now)\n        else:\n",
        "tests/test_pool_under_fire.py::test_a_full_send_buffer_makes_the_sender_wait[1]",
    ),
)


def check(bugs: Iterable[Bug], jobs: int) -> Iterator[tuple[Bug, str]]:
    """Plant each bug in a process of its own; yields how its test fails with it, or :data:`_NOT` and what is wrong."""
    bugs = list(bugs)
    files = sorted({bug.test.partition("::")[0] for bug in bugs})
    found: list[tuple[Bug, str]] = []
    with tempfile.TemporaryDirectory() as folder:

        def run(collected: Collected) -> None:
            functions = Functions(_ROOT, sorted({bug.file for bug in bugs}))

            def work(bug: Bug, send: Callable[[object], None]) -> None:
                signal.setitimer(signal.ITIMER_REAL, _LONGEST)
                if bug.test not in collected.by_id:
                    send(f"{_NOT} there is no such test")
                elif not collected.run(bug.test):
                    send(f"{_NOT} its test fails without it, too")
                else:
                    source = bug.plant((_ROOT / bug.file).read_text(encoding="utf-8"))
                    assert functions.exchange(bug.file, source.encode())
                    passed = collected.run(bug.test)
                    send(f"{_NOT} it is not noticed" if passed else collected.failure)

            found.extend((bug, _told(ended)) for bug, ended in in_forks(bugs, work, jobs))

        if not with_items(_ROOT, files, Path(folder) / "tests", run):
            raise RuntimeError("the tests cannot be collected")
    yield from sorted(found, key=lambda each: bugs.index(each[0]))


def _told(ended: Ended) -> str:
    if ended.signal:
        return f"{_NOT} its test was killed by signal {ended.signal}, or did not end"
    return str(ended.messages[-1]) if ended.messages else f"{_NOT} its process ended without a word"


def main() -> int:
    """Plant all bugs, and say by which test each is caught."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutants.planted",
        description=__doc__,
        epilog="exit status: 0 when each is caught by its test, 1 otherwise",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=1, help="at a time (1)")
    options = parser.parse_args()
    is_good = True
    for bug, how in check(BUGS, options.jobs):
        sys.stdout.write(f"{bug.name}\n    {bug.test}\n    {how}\n")
        is_good = is_good and not how.startswith(_NOT)
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
