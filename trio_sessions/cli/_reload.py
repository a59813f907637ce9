"""SIGHUP during a run: the configuration is read once more, and what can change does, all of it or nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import attrs

from trio_sessions import Node
from trio_sessions._errors import InvalidInputError, SessionsError
from trio_sessions.cli._plan import Plan, Reading
from trio_sessions.cli._status import CommandError, lines_of
from trio_sessions.cli._traffic import Traffic, choose
from trio_sessions.cli.settings import SETTINGS

__all__ = ["Reload"]

_LIVE = frozenset(each.name for each in SETTINGS.values() if each.live)
#: What a plan has in another form than the setting.
_UNSHOWN = {"token": "the API token", "journal": "sessions.journal", "no_journal": "sessions.journal"}


class Note(Protocol):
    """Takes a line and its level."""

    def __call__(self, text: str, level: str = "info") -> None: ...


class Reload:
    """Takes a changed configuration over into a run.

    Args:
        read: reads it.
        note: says a line, at a level.
    """

    def __init__(self, node: Node, url: str, read: Callable[[], Reading], note: Note) -> None:
        self._node = node
        self._url = url
        self._read = read
        self._note = note

    def __call__(self, plan: Plan, traffic: Traffic | None) -> Plan:
        """The plan to go on with: that of the configuration, or the same ``plan`` when something is wrong.

        It says what has changed and what cannot, or what is wrong. Never waits.
        """
        try:
            reading = self._read()
            for warning in reading.warnings:
                self._note(warning, "warning")
            try:
                return self._take_over(plan, reading.plan, traffic)
            except InvalidInputError as error:
                raise reading.configuration.blame(error) from error
        except (SessionsError, CommandError) as error:
            for line in lines_of(error):
                self._note(line, "error")
            self._note("the configuration was not taken over: nothing has changed")
            return plan

    def _take_over(self, old: Plan, new: Plan, traffic: Traffic | None) -> Plan:
        changed = {
            field.name: getattr(new, field.name)
            for field in attrs.fields(Plan)
            if getattr(old, field.name) != getattr(new, field.name)
        }
        live = {name: value for name, value in changed.items() if name in _LIVE}
        plan = attrs.evolve(old, **live)
        if live:
            self._apply(plan, traffic, anew="relayers" in live)
        if "log_level" in live:
            logging.getLogger("trio_sessions").setLevel(plan.log_level.upper())
        self._note("the configuration was read again" + ("" if changed else ": nothing has changed"))
        # Once for what a plan has in two fields.
        for line in dict.fromkeys(_line(name, old, plan) for name in changed):
            self._note(line)
        return plan

    def _apply(self, plan: Plan, traffic: Traffic | None, *, anew: bool) -> None:
        """Go on by ``plan``, with relayers chosen ``anew`` or those there are.

        Raises:
            InvalidInputError, CommandError: it doesn't fit this node; nothing has changed.
        """
        chosen, options = None, plan.node_options
        if traffic is not None:
            chosen = traffic.chosen
            if anew:
                chosen = None if plan.relayers is None else choose(self._node, plan, traffic.chosen or ())
            if plan.hops is None:
                # Those that are chosen by number, too: the others' sessions shall end.
                options = attrs.evolve(options, relayers=None if chosen is None else sorted(chosen))
        self._node.set_options(options, plan.pool_options(self._url))
        if traffic is not None:
            traffic.set_plan(plan, chosen)


def _line(name: str, old: Plan, new: Plan) -> str:
    """What to say of a setting that was changed; a token is not shown."""
    if name in _LIVE:
        return f"{SETTINGS[name].path} is {_shown(name, new)} now; it was {_shown(name, old)}"
    if name in _UNSHOWN:
        return f"{_UNSHOWN[name]} cannot change while the run goes on: restart it for that"
    return f"{SETTINGS[name].path} cannot change while the run goes on: it is {_shown(name, old)} until a restart"


def _shown(name: str, plan: Plan) -> str:
    return SETTINGS[name].kind.to_toml(getattr(plan, name))
