"""What the journal holds of requests and listeners, as JSON text and back. Pure.

The form is of the journal's schema version and of nothing else: neither the node's JSON nor an attrs field's name
decides it. Reading is strict, since listeners are closed by what it says: each ``load_…`` takes exactly what its
``dump_…`` writes and raises ValueError, one line, for anything else.
"""

from __future__ import annotations

import json
from typing import TypeVar, cast

from trio_sessions._model import Capability, Listener, ListenerKey, Path, Protocol, SessionRequest

__all__ = ["dump_listener", "dump_listeners", "dump_request", "load_listener", "load_listeners", "load_request"]

T = TypeVar("T")
JsonObject = dict[str, object]

_PATH = ("hops", "via")
_REQUEST = (
    "destination",
    "forward",
    "back",
    "target",
    "protocol",
    "listen_host",
    "capabilities",
    "response_buffer",
    "max_surb_upstream",
)
_LISTENER = (
    "protocol",
    "ip",
    "port",
    "destination",
    "target",
    "forward",
    "back",
    "hopr_mtu",
    "surb_len",
    "clients",
    "max_clients",
    "max_surb_upstream",
    "response_buffer",
)


def dump_request(request: SessionRequest) -> str:
    """The text of a request."""
    return _encode(
        {
            "destination": request.destination,
            "forward": _dump_path(request.forward),
            "back": _dump_path(request.back),
            "target": request.target,
            "protocol": request.protocol,
            "listen_host": request.listen_host,
            "capabilities": sorted(capability.value for capability in request.capabilities),
            "response_buffer": request.response_buffer,
            "max_surb_upstream": request.max_surb_upstream,
        }
    )


def load_request(text: str) -> SessionRequest:
    """The request of ``text``.

    Raises:
        ValueError: it is not a request's; InvalidInputError if the request itself breaks a rule.
    """
    record = _object(_decode(text), _REQUEST)
    target = record["target"]
    return SessionRequest(
        destination=_get(record, "destination", str),
        forward=_load_path(record["forward"]),
        back=_load_path(record["back"]),
        target=target if type(target) is int else _get(record, "target", str),
        protocol=_protocol(record),
        listen_host=_get_optional(record, "listen_host", str),
        capabilities=frozenset(Capability(word) for word in _strings(record, "capabilities")),
        response_buffer=_get_optional(record, "response_buffer", int),
        max_surb_upstream=_get_optional(record, "max_surb_upstream", int),
    )


def dump_listener(listener: Listener) -> str:
    """The text of a listener."""
    return _encode(_dump_listener(listener))


def load_listener(text: str) -> Listener:
    """The listener of ``text``.

    Raises:
        ValueError: it is not a listener's.
    """
    return _load_listener(_decode(text))


def dump_listeners(listeners: tuple[Listener, ...]) -> str:
    """The text of some listeners, in their order."""
    return _encode([_dump_listener(listener) for listener in listeners])


def load_listeners(text: str) -> tuple[Listener, ...]:
    """The listeners of ``text``.

    Raises:
        ValueError: it is not a list of listeners.
    """
    values = _decode(text)
    if type(values) is not list:
        raise ValueError("it is not a list of listeners")
    return tuple(_load_listener(value) for value in values)


def _dump_listener(listener: Listener) -> JsonObject:
    return {
        "protocol": listener.key.protocol,
        "ip": listener.key.ip,
        "port": listener.key.port,
        "destination": listener.destination,
        "target": listener.target,
        "forward": _dump_path(listener.forward),
        "back": _dump_path(listener.back),
        "hopr_mtu": listener.hopr_mtu,
        "surb_len": listener.surb_len,
        "clients": list(listener.clients),
        "max_clients": listener.max_clients,
        "max_surb_upstream": listener.max_surb_upstream,
        "response_buffer": listener.response_buffer,
    }


def _load_listener(value: object) -> Listener:
    record = _object(value, _LISTENER)
    port = _get(record, "port", int)
    # Port 0 would close whatever listens on the ip (contract §2.4).
    if not 1 <= port <= 65535:
        raise ValueError("its port is not 1 to 65535")
    return Listener(
        key=ListenerKey(_protocol(record), _get(record, "ip", str), port),
        destination=_get(record, "destination", str),
        target=_get(record, "target", str),
        forward=_load_optional_path(record["forward"]),
        back=_load_optional_path(record["back"]),
        hopr_mtu=_get(record, "hopr_mtu", int),
        surb_len=_get(record, "surb_len", int),
        clients=_strings(record, "clients"),
        max_clients=_get(record, "max_clients", int),
        max_surb_upstream=_get_optional(record, "max_surb_upstream", str),
        response_buffer=_get_optional(record, "response_buffer", str),
    )


def _dump_path(path: Path | None) -> JsonObject | None:
    return None if path is None else {"hops": path.hops, "via": list(path.via)}


def _load_path(value: object) -> Path:
    record = _object(value, _PATH)
    return Path(_get_optional(record, "hops", int), _strings(record, "via"))


def _load_optional_path(value: object) -> Path | None:
    return None if value is None else _load_path(value)


def _encode(value: object) -> str:
    # ASCII, the default, also carries what a node may print and SQLite's UTF-8 may not: lone surrogates.
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _decode(text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None


def _object(value: object, names: tuple[str, ...]) -> JsonObject:
    if type(value) is not dict or value.keys() != set(names):
        raise ValueError(f"it is not an object of {', '.join(names)}")
    return cast("JsonObject", value)


def _get(record: JsonObject, name: str, kind: type[T]) -> T:
    value = record[name]
    # By type and not by isinstance: true and false are no numbers here.
    if type(value) is not kind:
        raise ValueError(f"its {name} is of another type")
    return value


def _get_optional(record: JsonObject, name: str, kind: type[T]) -> T | None:
    return None if record[name] is None else _get(record, name, kind)


def _protocol(record: JsonObject) -> Protocol:
    value = record["protocol"]
    if value not in ("udp", "tcp"):
        raise ValueError("its protocol is neither udp nor tcp")
    return value


def _strings(record: JsonObject, name: str) -> tuple[str, ...]:
    values = _get(record, name, list)
    if any(type(value) is not str for value in values):
        raise ValueError(f"its {name} are not all strings")
    return tuple(values)
