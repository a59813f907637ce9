"""Every setting there is, each defined once: its section and key, what it may be, its default and its help.

The attrs classes are the sections of a file; flags, variables, help texts and the file that ``config init`` writes all
follow from them. Defaults are the library's own wherever it has one.
"""

from __future__ import annotations

from typing import Any

import attrs
import click

from trio_sessions._inputs import check_url
from trio_sessions._namespaces import Namespace, check_instance, parse_namespace
from trio_sessions._node import NodeOptions
from trio_sessions._options import CHANGEABLE, PoolOptions
from trio_sessions._session import MAX_BATCH
from trio_sessions.cli._listen import parse_listen
from trio_sessions.cli._logs import FORMATS, LEVELS
from trio_sessions.cli._params import (
    AddressType,
    CheckedType,
    NumberType,
    RelayersType,
    WholeType,
    check_choice,
)
from trio_sessions.cli.settings._kinds import Kind
from trio_sessions.cli.settings._setting import Setting, setting, settings_of

__all__ = ["SECTIONS", "SETTINGS", "Settings"]

_POOL = PoolOptions()
_NODE = NodeOptions()


def _check_connect_host(text: str) -> str:
    return PoolOptions(connect_host=text).connect_host or text


def _seconds(*, zero: bool = False, optional: bool = False, remedy: str = "") -> Kind:
    number = NumberType("seconds", zero=zero, remedy=remedy)
    wanted = "a number of seconds, without quotes" + (", or false" if optional else "")
    return Kind(reader=number, metavar="S", toml=(int, float), wanted=wanted, optional=optional)


def _whole(name: str, lowest: int, highest: int | None = None, *, optional: bool = False) -> Kind:
    wanted = "a whole number, without quotes" + (", or false" if optional else "")
    return Kind(reader=WholeType(name, lowest, highest), metavar="N", toml=(int,), wanted=wanted, optional=optional)


def _text(metavar: str, read: CheckedType, *, optional: bool = False, also: tuple[type, ...] = ()) -> Kind:
    wanted = "a string, in quotes" + (", or a number" if also else "") + (", or false" if optional else "")
    return Kind(reader=read, metavar=metavar, toml=(str, *also), wanted=wanted, optional=optional)


_FILE = Kind(
    reader=click.STRING,
    metavar="FILE",
    toml=(str,),
    wanted="a string, in quotes, or false",
    optional=True,
    is_path=True,
)
_JOURNAL = Kind(
    reader=click.STRING, metavar="FILE", toml=(str, bool), wanted="a string, in quotes, true or false", is_path=True
)
_SWITCH = Kind(reader=click.BOOL, metavar="", toml=(bool,), wanted="true or false")
_RELAYERS = Kind(
    reader=RelayersType(),
    metavar="N|ADDR,…",
    toml=(int, list),
    wanted="a whole number, a list of addresses, or false",
    optional=True,
)
_ADDRESSES = Kind(
    reader=AddressType(), metavar="ADDR", toml=(list,), wanted="a list of addresses, or false", optional=True, many=True
)


def _of_pool(name: str, kind: Kind, help_text: str, **more: Any) -> Any:
    """A setting that is an option of the pool, with its default, and live where that is."""
    return setting(kind, getattr(_POOL, name), help_text, live=name in CHANGEABLE, **more)


@attrs.frozen(kw_only=True)
class NodeSection:
    """``[node]``: which node."""

    url: str | None = setting(
        _text("URL", CheckedType("URL", check_url), optional=True),
        None,
        "The hoprd node's REST API.",
        default_text="none for run, which needs one; else http://127.0.0.1:3001",
        example='"http://127.0.0.1:3001"',
        of_node=True,
    )
    token_file: str | None = setting(
        _FILE,
        None,
        "File with the API token. Without it, the variable TRIO_SESSIONS_TOKEN has it, or systemd's credential"
        " trio-sessions-token.",
        in_file='E.g. "token": a path is meant from the folder of this file on.',
        default_text="none",
        of_node=True,
    )


@attrs.frozen(kw_only=True)
class SessionsSection:
    """``[sessions]``: which sessions, and how they are kept."""

    relayers: int | tuple[str, ...] | None = setting(
        _RELAYERS,
        None,
        "How many relayers to use, or their addresses.",
        in_file='E.g. 20, or ["0x…", "0x…"].',
        as_flag="Separate them by commas.",
        default_text="every one with an open channel; 5 of a simulated node",
        live=True,
        of_node=True,
    )
    destinations: tuple[str, ...] = _of_pool(
        "destinations",
        _ADDRESSES,
        "Exit nodes, of which each session gets one.",
        as_flag="Give it several times for more of them.",
        flag="--destination",
        default_text="any connected peer",
        of_node=True,
    )
    hops: int | None = setting(
        _whole("hops", 0, 3, optional=True),
        None,
        "Let the node pick this number of relayers, 0 to 3: one session to each destination, on every kind of node.",
        default_text="through chosen relayers",
    )
    grace_period: float = _of_pool(
        "grace_period", _seconds(zero=True), "Seconds that a session outlives the reachability of its relayer."
    )
    keepalive_interval: float = _of_pool(
        "keepalive_interval",
        _seconds(),
        "Seconds between the calls that keep the listener of an unreachable relayer from its idle end.",
    )
    reconcile_interval: float = _of_pool(
        "reconcile_interval", _seconds(), "Seconds between looks at the node's list of listeners."
    )
    poll_interval: float = setting(
        _seconds(), _NODE.poll_interval, "Seconds between polls of the node's health, peers and channels.", live=True
    )
    reply_timeout: float = _of_pool(
        "reply_timeout", _seconds(), "Seconds that the answers of a batch are waited for after its last message."
    )
    drain_timeout: float = _of_pool(
        "drain_timeout",
        _seconds(zero=True),
        "Seconds that an ending session waits for answers; at a stop, half of the stop timeout at most.",
    )
    stop_timeout: float = _of_pool(
        "stop_timeout", _seconds(), "Seconds that the stop takes at most, whatever the node does."
    )
    opens_per_second: float = _of_pool(
        "opens_per_second",
        Kind(reader=NumberType("opens a second"), metavar="R", toml=(int, float), wanted="a number, without quotes"),
        "Sessions opened a second at most, all of them together.",
    )
    max_opens: int = _of_pool(
        "max_opens", _whole("opens", 1), "Opens under way at a time, without those that take longer than a second."
    )
    namespace: Namespace = _of_pool(  # noqa: RUF009 - the default is frozen
        "namespace",
        _text("NS", CheckedType("namespace", parse_namespace)),
        "Which listeners are ours: dedicated (an address 127.a.b.c of our own, for a node on this machine), such an"
        " address itself, a range of ports FIRST-LAST or IP:FIRST-LAST, or shared.",
        default_text="shared; dedicated for a simulated node",
        of_node=True,
    )
    instance: str = _of_pool(
        "instance",
        _text("NAME", CheckedType("instance", check_instance)),
        "Name of this one among several at the same node.",
    )
    journal: str | bool = setting(
        _JOURNAL,
        True,
        "File that remembers what is open, for the next start after a kill.",
        in_file="A path is meant from the folder of this file on; false remembers nothing.",
        default_text="one in the state folder; none with an address of our own, which needs none",
        of_node=True,
    )
    connect_host: str | None = _of_pool(
        "connect_host",
        _text("IP", CheckedType("IP", _check_connect_host), optional=True),
        "Where listeners are reached, if not where the node says: containers.",
        default_text="where the node says",
        of_node=True,
    )


@attrs.frozen(kw_only=True)
class TrafficSection:
    """``[traffic]``: what ``run`` relays."""

    batch: int = setting(_whole("messages", 1, MAX_BATCH), 10, f"Messages sent at once, 1 to {MAX_BATCH}.", live=True)
    rate: float = setting(
        Kind(reader=NumberType("messages a second"), metavar="R", toml=(int, float), wanted="a number, without quotes"),
        100.0,
        "Messages a second, over all relayers together.",
        live=True,
    )
    duration: float | None = setting(
        _seconds(optional=True, remedy="leave it out to run until a signal"),
        None,
        "Seconds until the stop, with the wait for a node that isn't up.",
        default_text="until a signal",
    )


@attrs.frozen(kw_only=True)
class LogSection:
    """``[log]``: what is said on stderr."""

    level: str = setting(
        _text(f"[{'|'.join(LEVELS)}]", CheckedType("level", check_choice("log level", LEVELS))),
        "warning",
        "What the log shows: this and worse.",
        name="log_level",
        live=True,
    )
    format: str = setting(
        _text(f"[{'|'.join(FORMATS)}]", CheckedType("format", check_choice("log format", FORMATS))),
        "text",
        "Lines for people, or one JSON object a line.",
        name="log_format",
    )


@attrs.frozen(kw_only=True)
class MetricsSection:
    """``[metrics]``: what ``run`` tells Prometheus."""

    listen: str | None = setting(
        _text("[HOST:]PORT", CheckedType("address", parse_listen), optional=True, also=(int,)),
        None,
        "Serve metrics and health checks at this port, on the loopback address unless a host is named.",
        name="metrics",
        default_text="not served",
    )
    relayer_label: bool = setting(
        _SWITCH,
        False,
        "Label metrics with the relayer: as many series as relayers.",
        name="metrics_relayer_label",
    )


@attrs.frozen(kw_only=True)
class Settings:
    """A configuration: the value of every setting."""

    node: NodeSection = attrs.field(factory=NodeSection)
    sessions: SessionsSection = attrs.field(factory=SessionsSection)
    traffic: TrafficSection = attrs.field(factory=TrafficSection)
    log: LogSection = attrs.field(factory=LogSection)
    metrics: MetricsSection = attrs.field(factory=MetricsSection)

    def of(self, each: Setting) -> Any:
        """The value of a setting."""
        return getattr(getattr(self, each.section), each.key)


SECTIONS: dict[str, type[Any]] = {
    "node": NodeSection,
    "sessions": SessionsSection,
    "traffic": TrafficSection,
    "log": LogSection,
    "metrics": MetricsSection,
}

#: All settings by their names, in the order of the sections.
SETTINGS: dict[str, Setting] = {
    each.name: each for section, cls in SECTIONS.items() for each in settings_of(section, cls)
}
