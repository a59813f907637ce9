"""What the releases of hoprd do differently, as data (contract, table of dialects)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

__all__ = ["RULES", "SURB_SIZE", "Rules"]

#: Bytes of a reply block, the same in every release (contract §4.2).
SURB_SIZE = 395


@attrs.frozen(kw_only=True)
class Rules:
    """The behaviour of one dialect.

    Attributes:
        name: what the dialect is asked for by.
        rest_version: the version of the REST crate, as the OpenAPI document names it (contract, citation keys).
        node_version: what ``/node/version`` says; early 4.0 builds print their library's (contract §2.6).
        connected_route: whether peers come from ``/network/connected``, else from ``/node/peers``.
        status_route: whether there is ``/node/status``.
        intermediate_path: what the plain route does with an IntermediatePath: ``"taken"``, ``"shape"`` (422 text) or
            ``"rejected"`` (422 JSON; contract §2.1).
        explicit_route: whether the explicit-path route exists at all (contract §2.2).
        flow_control: whether the field of that name is read.
        exact_bearer: whether the whole header value must match (contract §1.2).
        error_as_200: whether errors without an explicit code go out as 200 (contract §1.4).
        api_before_node: whether the API answers while the node still starts (contract §3.8).
        verbatim_list: whether the list repeats the balancer's settings as they were asked for (contract §2.3).
        tagged_ids: whether session ids end in a tag (contract §2.5).
        delete_frees_slot: whether a DELETE frees the manager's slot at once (contract §3.7).
        drop_frees_slot: whether an open dropped in its readiness wait frees its slot (contract §3.3).
        keep_alives: whether exits without NoRateControl hold sessions open (contract §3.5).
        hopr_mtu: bytes of a session's packet (contract §4.2).
        raw_payload: bytes of a raw session's packet (contract §4.2).
        max_sessions: the manager's limit (contract §3.4).
        frame_timeout: seconds that a missing frame holds up the later ones (contract §4.3).
        stalls_add_up: whether each of several missing frames holds up the later ones for that long (contract §4.3).
        timeout_text: the inner text of an open that nobody answered (contract §2.1).
        prefix_errors: whether errors of an open are wrapped as a failure of the UDP listener (contract §2.1).
        pool_failure: the status when a TCP session's pool cannot be filled (contract §2.1).
    """

    name: str
    rest_version: str
    node_version: str
    connected_route: bool = True
    status_route: bool = True
    intermediate_path: str = "rejected"
    explicit_route: bool = True
    flow_control: bool = False
    exact_bearer: bool = False
    error_as_200: bool = False
    api_before_node: bool = False
    verbatim_list: bool = False
    tagged_ids: bool = False
    delete_frees_slot: bool = False
    drop_frees_slot: bool = True
    keep_alives: bool = True
    hopr_mtu: int = 1020
    raw_payload: int = 1030
    max_sessions: int = 100
    frame_timeout: float = 0.8
    stalls_add_up: bool = True
    timeout_text: str = "session operation timed out"
    prefix_errors: bool = True
    pool_failure: int = 422


_ALL = (
    Rules(
        name="3",
        rest_version="4.2.2",
        node_version="3.0.1",
        connected_route=False,
        status_route=False,
        intermediate_path="taken",
        explicit_route=False,
        exact_bearer=True,
        error_as_200=True,
        api_before_node=True,
        verbatim_list=True,
        tagged_ids=True,
        drop_frees_slot=False,
        keep_alives=False,
        hopr_mtu=1002,
        raw_payload=1012,
        max_sessions=2048,
        timeout_text="connection timed out",
        prefix_errors=False,
        pool_failure=500,
    ),
    Rules(
        name="4.0-rc",
        rest_version="4.11.0",
        node_version="1.0.0-rc.1",
        intermediate_path="shape",
        explicit_route=False,
        exact_bearer=True,
        error_as_200=True,
        tagged_ids=True,
        drop_frees_slot=False,
        keep_alives=False,
        hopr_mtu=1018,
        raw_payload=1028,
        max_sessions=2048,
    ),
    Rules(name="4.0", rest_version="4.12.1", node_version="4.0.3"),
    Rules(
        name="4.1",
        rest_version="4.14.0",
        node_version="4.1.0",
        flow_control=True,
        delete_frees_slot=True,
        frame_timeout=3.0,
        stalls_add_up=False,
    ),
)

#: Every dialect by name.
RULES: Mapping[str, Rules] = MappingProxyType({rules.name: rules for rules in _ALL})
