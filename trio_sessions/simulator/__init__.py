"""A faithful hoprd without a network: for tests, demonstrations and benchmarks.

One model without I/O, two fronts: :func:`open_memory_node` under a virtual clock, :func:`serve_node` with real sockets.
It follows the behavioural contract (``hoprd-api.md``) and shares nothing with this library's client.
"""

from trio_sessions.simulator._config import DEFAULT_TOKEN, SimulatorConfig
from trio_sessions.simulator._faults import CALLS, FAULT_HELP, Fault, parse_fault
from trio_sessions.simulator._history import Counters, Event
from trio_sessions.simulator._memory import MemoryNode, open_memory_node
from trio_sessions.simulator._memory_net import MemorySocket
from trio_sessions.simulator._node import SimulatedNode
from trio_sessions.simulator._server import ServedNode, serve_node
from trio_sessions.simulator._sessions import ListenerRecord

__all__ = [
    "CALLS",
    "DEFAULT_TOKEN",
    "FAULT_HELP",
    "Counters",
    "Event",
    "Fault",
    "ListenerRecord",
    "MemoryNode",
    "MemorySocket",
    "ServedNode",
    "SimulatedNode",
    "SimulatorConfig",
    "open_memory_node",
    "parse_fault",
    "serve_node",
]
