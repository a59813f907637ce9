"""``trio-sessions run``: relay messages, stop, and report."""

from __future__ import annotations

import functools
import json
import signal
from collections.abc import Callable
from typing import Any

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions._session import MAX_BATCH
from trio_sessions.cli._flags import setting_flags, take_flags
from trio_sessions.cli._logs import LEVELS, LogOptions, view_option
from trio_sessions.cli._params import WholeType
from trio_sessions.cli._plan import Reading, read_plan
from trio_sessions.cli._signals import hold_signals, reload_signals
from trio_sessions.cli._speech import complain, warn
from trio_sessions.cli._status import CLEAN, LEFT, STATUS_HELP, one_line, status_of, steps_of
from trio_sessions.cli._streams import write_stdout
from trio_sessions.cli.settings import SETTINGS, Sources

__all__ = ["LARGEST_BATCH", "run"]

#: What the library takes at once.
LARGEST_BATCH = MAX_BATCH

_CHOOSE = "choose exactly one of them, or write a url into a configuration file: config --help"


@click.command(epilog=STATUS_HELP, short_help="Relay messages through sessions on a node.")
@click.option("--simulate", is_flag=True, help="Relay through a simulated node inside of this process.")
@setting_flags(SETTINGS)
@click.option("--seed", type=WholeType("seed"), metavar="N", help="Seed of every random choice.")
@click.option("--json", "wants_json", is_flag=True, help="Report as one JSON object on stdout.")
@view_option
@click.option("-v", "--verbose", "verbosity", count=True, help="As --log-level info; -vv as --log-level debug.")
def run(
    *,
    simulate: bool,
    config: str | None,
    seed: int | None,
    view: str,
    wants_json: bool,
    verbosity: int,
    **options: Any,
) -> int:
    """Relay messages through sessions on a node, until the duration is over or SIGINT or SIGTERM comes; then stop,
    leave nothing behind, and report on stdout.

    A node that isn't up yet is waited for. The first signal stops and waits for answers under way, a second one
    doesn't wait for them; listeners are closed in any case. SIGHUP reads files and environment again: what can change
    does, and what cannot is told. If something is wrong with it, all stays as it is.

    \b
    Examples:
      trio-sessions run --simulate --relayers 20 --duration 10
      trio-sessions run --url http://127.0.0.1:3001 --token-file token --relayers 3
    """
    flags = take_flags(options)
    if simulate and "url" in flags:
        raise InvalidInputError("--simulate and --url", None, "both are given", "choose exactly one of them")
    if simulate and "token_file" in flags:
        raise InvalidInputError("--token-file", flags["token_file"], "is for --url alone", "leave it out")
    if verbosity:
        said = flags.get("log_level", LEVELS[-1])
        flags["log_level"] = min(said, LEVELS[max(0, 2 - verbosity)], key=LEVELS.index)
    read = functools.partial(_read, Sources(flags=flags, config=config, simulate=simulate), seed)
    reading = read()
    warn(reading.warnings)
    reloading = reload_signals()
    # From here on a signal stops the run, even while the modules below are imported.
    with hold_signals(*reloading):
        return _run(reading, read, reloading, view, wants_json=wants_json)


def _read(sources: Sources, seed: int | None) -> Reading:
    reading = read_plan(sources, seed=seed)
    if reading.plan.url is None and not sources.simulate:
        raise InvalidInputError("--simulate and --url", None, "neither is given", _CHOOSE)
    return reading


def _run(
    reading: Reading,
    read: Callable[[], Reading],
    reloading: tuple[signal.Signals, ...],
    view: str,
    *,
    wants_json: bool,
) -> int:
    import trio

    from trio_sessions.cli._report_text import as_json, as_text
    from trio_sessions.cli._running import relay
    from trio_sessions.cli._screen import open_screen

    plan = reading.plan
    with open_screen(LogOptions(plan.log_level, plan.log_format), view) as screen:
        try:
            outcome = trio.run(relay, plan, screen, read, reloading)
        except InvalidInputError as error:
            raise reading.configuration.blame(error) from error
    write_stdout(json.dumps(as_json(outcome), allow_nan=False) if wants_json else as_text(outcome))
    if outcome.failure is not None:
        complain(one_line(outcome.failure), steps_of(outcome.failure))
        return status_of(outcome.failure)
    return CLEAN if outcome.clean else LEFT
