"""Strangers' listeners that may be ours after all: on addresses as instances with one of their own have them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address

from trio_sessions._namespaces import derive_address, node_key
from trio_sessions._ownership import Owner, Sighting

__all__ = ["hints"]

#: Addresses that are named one by one.
_MOST_NAMED = 3
#: Instances that there may be without anybody having named them.
_USUAL = ("default", "default.doctor", "open", "relay")


def hints(sightings: Iterable[Sighting], url: str, instance: str) -> list[str]:
    """A line for each dedicated address with listeners that nothing but that address could show to be ours.

    Args:
        sightings: all that the node lists, and what journals remember.
        url: of the node.
        instance: the one that is spoken of.
    """
    sightings = tuple(sightings)
    keys = [each.key for each in sightings if each.owner is Owner.STRANGER and each.key is not None]
    counts = Counter(key.ip for key in keys if key.protocol == "udp" and _looks_derived(key.ip))
    if not counts:
        return []
    names = [each.instance for each in sightings if each.instance is not None]
    addresses = {derive_address(node_key(url), name): name for name in (*_USUAL, *names, instance)}
    lines = [_hint(ip, count, addresses.get(ip)) for ip, count in counts.most_common()]
    if len(lines) > _MOST_NAMED:
        lines[_MOST_NAMED:] = [f"and {len(lines) - _MOST_NAMED} more such addresses"]
    return lines


def _looks_derived(ip: str) -> bool:
    """Whether it is of those that :func:`derive_address` makes."""
    address = ip_address(ip)
    return address.version == 4 and address.is_loopback and not ip.startswith("127.0.")


def _hint(ip: str, count: int, instance: str | None) -> str:
    what = f"{count} stranger{'' if count == 1 else 's'} on {ip}"
    if instance is None:
        return (
            f"{what}: if an instance of yours has that address, --namespace dedicated --instance NAME, or --namespace"
            f" {ip}, tells whose they are"
        )
    named = "" if instance == "default" else f" --instance {instance}"
    return f"{what}, the dedicated address of instance {instance}: --namespace dedicated{named} tells whose they are"
