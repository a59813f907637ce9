"""``trio-sessions simulate``: a stand-in for hoprd, in a process of its own."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import click

from trio_sessions._errors import InvalidInputError
from trio_sessions.cli._params import NumberType, WholeType
from trio_sessions.cli._plan import SIMULATED_RELAYERS
from trio_sessions.cli._signals import hold_signals, receive_signals
from trio_sessions.cli._status import CLEAN, CommandError
from trio_sessions.cli._streams import write_stdout

if TYPE_CHECKING:
    from trio_sessions.simulator import ServedNode, SimulatedNode

__all__ = ["simulate"]


class _SimulateCommand(click.Command):
    """Its help ends with the grammar of faults, which only the simulator knows."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from trio_sessions.simulator import FAULT_HELP

        formatter.write_paragraph()
        formatter.write("\n".join(FAULT_HELP.splitlines()))
        formatter.write(
            "\n\nExit status:\n  0 after a signal; 1 failure, e.g. the port is in use; 2 bad usage or input\n"
        )


class _PortRangeType(click.ParamType[tuple[int, int]]):
    """Two ports, as ``A-B`` or, like the daemon's own setting, as ``A:B``; whether they are a range is told later."""

    name = "port range"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """The first and the last port.

        Raises:
            InvalidInputError: they aren't two numbers.
        """
        first, _, last = value.replace(":", "-").partition("-")
        try:
            return int(first), int(last)
        except ValueError:
            raise InvalidInputError("--port-range", value, "must be two ports", "write e.g. 20000-20099") from None


@click.command(cls=_SimulateCommand, short_help="Stand in for a hoprd node.")
@click.option(
    "--port",
    type=WholeType("port", 0, 65535),
    metavar="P",
    default=3001,
    show_default=True,
    help="Port of the REST API on 127.0.0.1; 0 picks a free one.",
)
@click.option("--token", metavar="T", help="API token; it guards nothing.  [default: a fixed one, printed]")
@click.option("--dialect", metavar="[3|4.0|4.1]", default="4.1", show_default=True, help="Which hoprd to be like.")
@click.option(
    "--relayers",
    type=WholeType("relayers", 0),
    metavar="N",
    default=SIMULATED_RELAYERS,
    show_default=True,
    help="Peers with an open channel.",
)
@click.option(
    "--seed",
    type=WholeType("seed"),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of every random choice, the addresses included.",
)
@click.option("--fault", "faults", metavar="SPEC", multiple=True, help="What goes wrong; several may be given.")
@click.option(
    "--explicit-path/--no-explicit-path",
    default=True,
    show_default=True,
    help="Whether a node of 4.x opens sessions through a chosen relayer.",
)
@click.option(
    "--open-latency", type=NumberType("seconds", zero=True), metavar="S", help="Seconds that an open takes, about."
)
@click.option(
    "--open-retries", type=WholeType("retries", 0), metavar="N", help="Tries more of an open that failed.  [default: 3]"
)
@click.option(
    "--echo-latency", type=NumberType("seconds", zero=True), metavar="S", help="Seconds to the exit node and back."
)
@click.option(
    "--delete-latency",
    type=NumberType("seconds", zero=True),
    metavar="S",
    help="Seconds until a close has its effect.",
)
@click.option(
    "--idle-timeout",
    type=NumberType("seconds"),
    metavar="S",
    help="Seconds until a session that receives nothing ends, at the next sweep.  [default: 180]",
)
@click.option(
    "--max-sessions", type=WholeType("sessions", 0), metavar="N", help="Session slots.  [default: the dialect's]"
)
@click.option(
    "--port-range",
    type=_PortRangeType(),
    metavar="A-B",
    help="Ports for listeners that ask for none, the lowest free one first.  [default: any port]",
)
@click.option("--json", "wants_json", is_flag=True, help="Print the ready line as one JSON object.")
def simulate(*, port: int, faults: tuple[str, ...], seed: int, wants_json: bool, **settings: Any) -> int:
    """Stand in for a hoprd node, with a REST API, sessions on real UDP sockets and an echo at their far end, until
    SIGINT or SIGTERM.

    When it is ready, it prints one line on stdout.

    \b
    Examples:
      trio-sessions simulate
      trio-sessions simulate --port 0 --json --fault loss:p=0.01 --fault flap:relayer=0:at=5:seconds=30
    """
    with hold_signals():
        import trio

        from trio_sessions._descriptors import raise_descriptor_limit
        from trio_sessions.simulator import SimulatedNode, SimulatorConfig, parse_fault

        # Each listener is a socket.
        raise_descriptor_limit()
        given = {name: value for name, value in settings.items() if value is not None}
        config = SimulatorConfig(seed=seed, faults=tuple(parse_fault(spec) for spec in faults), **given)
        trio.run(_serve, SimulatedNode(config), port, wants_json)
        return CLEAN


async def _serve(node: SimulatedNode, port: int, wants_json: bool) -> None:
    from trio_sessions._leaf import open_leaf_nursery
    from trio_sessions.simulator import serve_node

    with receive_signals() as signals:
        async with open_leaf_nursery() as nursery:
            try:
                server = await nursery.start(lambda task_status: serve_node(node, port=port, task_status=task_status))
            except OSError as error:
                remedy = "choose another one, or --port 0 for a free one"
                raise CommandError(f"port {port} cannot be used: {error.strerror or error}; {remedy}") from error
            write_stdout(_ready_line(server, wants_json=wants_json))
            await anext(signals)
            nursery.cancel_scope.cancel()


def _ready_line(server: ServedNode, *, wants_json: bool) -> str:
    node = server.node
    if wants_json:
        data = {
            "url": server.url,
            "token": server.token,
            "pid": os.getpid(),
            "relayers": list(node.relayers),
            "destinations": list(node.destinations),
        }
        return json.dumps(data)
    return (
        f"ready: hoprd {node.config.dialect} simulated at {server.url}, token {server.token},"
        f" {len(node.relayers)} relayers, {len(node.destinations)} destinations, pid {os.getpid()}"
    )
