"""What a run is to do, as one frozen record."""

from __future__ import annotations

import sys
from typing import Any

import attrs

from trio_sessions._address import same_address
from trio_sessions._errors import InvalidInputError
from trio_sessions._namespaces import DedicatedAddress, Namespace, PortRange, Shared
from trio_sessions._node import NodeOptions
from trio_sessions._options import PoolOptions
from trio_sessions.cli._access import token_of, warnings_of
from trio_sessions.cli._listen import ListenAddress
from trio_sessions.cli._state import default_journal
from trio_sessions.cli.settings import SETTINGS, Configuration, Settings, Source, Sources

__all__ = ["SIMULATED_RELAYERS", "Plan", "Reading", "read_plan"]

#: Of a simulated node, when nobody names a number.
SIMULATED_RELAYERS = 5
#: ... and at the most: it runs in this process, with a socket for each.
MOST_SIMULATED = 1000

_DEFAULTS = Settings()
#: Settings that are in a plan in another form.
_MADE = ("journal", "namespace", "token_file", "url")


@attrs.frozen(kw_only=True)
class Plan:
    """What ``run`` does: its settings, by their names, and what stands on the command line alone. Durations in seconds.

    Attributes:
        url: of the node; ``None``: simulate one.
        token: for its API.
        relayers: which to use, or how many; ``None``: every one with an open channel.
        destinations: to choose from; none: every connected peer.
        hops: of sessions by hops; ``None``: through chosen relayers.
        batch: messages handed in at once.
        rate: messages a second, over all relayers together.
        duration: of the whole; ``None``: until a signal.
        seed: of every random choice; ``None``: another one each time.
        namespace: of the listeners; ``None``: a dedicated address at a simulated node, else shared.
        instance: of several at one node.
        journal: the file; ``None``: one in the state folder where the namespace needs one, unless ``no_journal``.
        connect_host: where the listeners are reached, if not where the node says.
        grace_period, keepalive_interval, reconcile_interval, reply_timeout, drain_timeout, stop_timeout: of the pool.
        opens_per_second, max_opens: of the pool.
        poll_interval: of the node.
        log_level, log_format: of what is said on stderr.
        metrics: where they are served; ``None``: nowhere.
        metrics_relayer_label: whether they are told for each relayer.

    Raises:
        InvalidInputError: options that exclude each other.
    """

    url: str | None
    token: str | None = attrs.field(default=None, repr=False)
    relayers: int | tuple[str, ...] | None = None
    destinations: tuple[str, ...] = ()
    hops: int | None = None
    batch: int = _DEFAULTS.traffic.batch
    rate: float = _DEFAULTS.traffic.rate
    duration: float | None = None
    seed: int | None = None
    namespace: Namespace | None = None
    instance: str = _DEFAULTS.sessions.instance
    journal: str | None = None
    no_journal: bool = False
    connect_host: str | None = None
    grace_period: float = _DEFAULTS.sessions.grace_period
    keepalive_interval: float = _DEFAULTS.sessions.keepalive_interval
    reconcile_interval: float = _DEFAULTS.sessions.reconcile_interval
    poll_interval: float = _DEFAULTS.sessions.poll_interval
    reply_timeout: float = _DEFAULTS.sessions.reply_timeout
    drain_timeout: float = _DEFAULTS.sessions.drain_timeout
    stop_timeout: float = _DEFAULTS.sessions.stop_timeout
    opens_per_second: float = _DEFAULTS.sessions.opens_per_second
    max_opens: int = _DEFAULTS.sessions.max_opens
    log_level: str = _DEFAULTS.log.level
    log_format: str = _DEFAULTS.log.format
    metrics: ListenAddress | None = None
    metrics_relayer_label: bool = False

    def __attrs_post_init__(self) -> None:
        wanted = self.relayers if isinstance(self.relayers, int) else len(self.relayers or ())
        if isinstance(self.namespace, PortRange) and len(self.namespace) < wanted:
            rule = f"has {len(self.namespace)} ports for {wanted} sessions"
            raise InvalidInputError("--namespace", str(self.namespace), rule, "widen it, to twice as many at best")
        if self.url is None and isinstance(self.relayers, int) and self.relayers > MOST_SIMULATED:
            rule = f"is more than the {MOST_SIMULATED} that a simulated node may have"
            raise InvalidInputError("--relayers", self.relayers, rule, "ask for fewer")
        if self.no_journal and self.journal is not None:
            raise InvalidInputError("--journal", self.journal, "is given together with --no-journal", "leave one out")
        if self.hops is not None and self.relayers is not None:
            remedy = "leave one out: by hops it is the node that picks the relayers"
            raise InvalidInputError("--hops", self.hops, "cannot be given together with --relayers", remedy)
        for relayer in self.named_relayers or ():
            if self.destinations and not self.has_destination(relayer):
                rule = "is the relayer, too, and there is no other"
                raise InvalidInputError("--destination", relayer, rule, "choose another destination or relayer")

    @classmethod
    def of(cls, configuration: Configuration, *, simulate: bool, token: str | None, seed: int | None) -> Plan:
        """The plan that a configuration makes.

        Raises:
            InvalidInputError: flags that exclude each other.
            ConfigError: the same of what was said elsewhere.
        """
        values: dict[str, Any] = {name: configuration.value(name) for name in SETTINGS if name not in _MADE}
        journal = configuration.value("journal")
        # Which namespace suits where nobody names one depends on the node.
        named = configuration.origins["namespace"].source is not Source.DEFAULT
        try:
            return cls(
                url=None if simulate else configuration.value("url"),
                token=token,
                seed=seed,
                namespace=configuration.value("namespace") if named else None,
                journal=journal if isinstance(journal, str) else None,
                no_journal=journal is False,
                **values,
            )
        except InvalidInputError as error:
            raise configuration.blame(error) from None

    @property
    def namespace_to_use(self) -> Namespace:
        """The namespace that was asked for, or the one that suits."""
        if self.namespace is not None:
            return self.namespace
        # Elsewhere there are no loopback addresses to choose from.
        return DedicatedAddress() if self.url is None and sys.platform == "linux" else Shared()

    @property
    def has_default_journal(self) -> bool:
        """Whether what is open is remembered in the state folder: an address of our own needs no memory."""
        forgets = self.no_journal or self.url is None or isinstance(self.namespace_to_use, DedicatedAddress)
        return self.journal is None and not forgets

    @property
    def named_relayers(self) -> tuple[str, ...] | None:
        """The relayers that were given by address."""
        return self.relayers if isinstance(self.relayers, tuple) else None

    def has_destination(self, relayer: str) -> bool:
        """Whether there may be a destination for sessions through ``relayer``, which is never its own."""
        if self.hops is not None or not self.destinations:
            return True
        return any(not same_address(destination, relayer) for destination in self.destinations)

    @property
    def node_options(self) -> NodeOptions:
        """The node's part."""
        return NodeOptions(relayers=self.named_relayers, hops=self.hops, poll_interval=self.poll_interval)

    def pool_options(self, url: str) -> PoolOptions:
        """The pool's part, at the node of ``url``.

        Raises:
            InvalidInputError: the folder of the journal cannot be made.
        """
        ours = {field.name for field in attrs.fields(Plan)}
        shared = {field.name: getattr(self, field.name) for field in attrs.fields(PoolOptions) if field.name in ours}
        journal = default_journal(url, self.instance) if self.has_default_journal else self.journal
        return PoolOptions(**{**shared, "namespace": self.namespace_to_use, "journal": journal})


@attrs.frozen
class Reading:
    """What one reading of the configuration came to.

    Attributes:
        plan: that it makes.
        configuration: with the origins of the values.
        warnings: what may be a mistake.
    """

    plan: Plan
    configuration: Configuration
    warnings: tuple[str, ...]


def read_plan(sources: Sources, *, seed: int | None = None) -> Reading:
    """Read everything that a run's plan is made of, and check that it goes together.

    Raises:
        ConfigError: a file, a variable or the token is wrong.
        InvalidInputError: a flag is.
    """
    configuration = sources.read()
    token = None if sources.simulate else token_of(configuration, sources.environ)
    value = None if token is None else token.value
    plan = Plan.of(configuration, simulate=sources.simulate, token=value, seed=seed)
    return Reading(plan, configuration, warnings_of(configuration, token))
