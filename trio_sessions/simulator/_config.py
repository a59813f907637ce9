"""What a simulated node is made of, as one frozen record."""

from __future__ import annotations

from ipaddress import ip_address

import attrs

from trio_sessions._errors import InvalidInputError
from trio_sessions.simulator._dialects import RULES, SURB_SIZE, Rules
from trio_sessions.simulator._faults import Fault

__all__ = ["DEFAULT_TOKEN", "SimulatorConfig"]

#: No secret: a simulator protects nothing, but a client must send something.
DEFAULT_TOKEN = "simulator-token"  # noqa: S105

#: The daemon refuses to start with a shorter one (contract §1.2).
MIN_TOKEN_LENGTH = 8


def _read_ip(text: str) -> str:
    """``text`` in the form in which the node lists it."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise InvalidInputError("listen host", text, "must be an ip") from None


@attrs.frozen(kw_only=True)
class SimulatorConfig:
    """Settings of a simulated node; latencies and time-outs are seconds.

    Attributes:
        dialect: ``"3"``, ``"4.0"`` (as tag v4.0.3), ``"4.0-rc"`` (as 4.0.1-rc) or ``"4.1"``.
        token: of the API; ``None`` lets every request pass (contract §1.2).
        relayers: peers with open channels.
        destinations: peers without a channel, for exits.
        seed: of every random choice, addresses included.
        explicit_path: whether the explicit-path route is switched on (the daemon's own default is off).
        open_latency: one handshake with an exit.
        open_retries: of an open that failed, hopr.network.session_establish_max_retries (contract §3.3).
        echo_latency: a datagram's way to the exit and back.
        delete_latency: before a DELETE has its effect.
        call_latency: before any call has its effect.
        release_latency: between the reply of a DELETE and the port being free (contract §3.7).
        idle_timeout: contract §3.5; the sweep comes on top.
        port_range: of ports that the node chooses, both ends included; ``None`` leaves them to the system.
        listen_host: where the node listens when a request names no ip.
        max_sessions: of the manager; ``None`` is the dialect's (contract §3.4).
        hopr_mtu: ``None`` is the dialect's (contract §4.2).
        surb_len: contract §4.2.
        faults: armed from the start.

    Raises:
        InvalidInputError: a value out of its range.
    """

    dialect: str = "4.1"
    token: str | None = attrs.field(default=DEFAULT_TOKEN, repr=False)
    relayers: int = 3
    destinations: int = 2
    seed: int = 0
    explicit_path: bool = True
    open_latency: float = 0.05
    open_retries: int = 3
    echo_latency: float = 0.02
    delete_latency: float = 0.0
    call_latency: float = 0.0
    release_latency: float = 0.01
    idle_timeout: float = 180.0
    port_range: tuple[int, int] | None = None
    listen_host: str = attrs.field(default="127.0.0.1", converter=_read_ip)
    max_sessions: int | None = None
    hopr_mtu: int | None = None
    surb_len: int = SURB_SIZE
    faults: tuple[Fault, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.dialect not in RULES:
            raise InvalidInputError("dialect", self.dialect, "unknown", f"use one of {', '.join(RULES)}")
        if self.token is not None and len(self.token) < MIN_TOKEN_LENGTH:
            raise InvalidInputError("token", None, f"has fewer than {MIN_TOKEN_LENGTH} characters")
        for field in attrs.fields(SimulatorConfig):
            value = getattr(self, field.name)
            if field.name != "seed" and isinstance(value, (int, float)) and not value >= 0:
                raise InvalidInputError(field.name, value, "must not be negative")
        if self.port_range is not None and not 1 <= self.port_range[0] <= self.port_range[1] <= 65535:
            raise InvalidInputError("port range", self.port_range, "must be two ports, the smaller first")
        for fault in self.faults:
            if fault.relayer is not None and fault.relayer >= self.relayers:
                raise InvalidInputError("fault relayer", fault.relayer, f"there are {self.relayers} relayers, from 0")

    @property
    def rules(self) -> Rules:
        """The rules of the dialect, with this record's own sizes and limits."""
        rules = RULES[self.dialect]
        return attrs.evolve(
            rules,
            hopr_mtu=self.hopr_mtu or rules.hopr_mtu,
            raw_payload=(self.hopr_mtu + 10) if self.hopr_mtu else rules.raw_payload,
            max_sessions=rules.max_sessions if self.max_sessions is None else self.max_sessions,
        )
