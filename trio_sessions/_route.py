"""Which way a session goes: through one chosen relayer, or by a number of hops to one destination."""

from __future__ import annotations

import attrs

from trio_sessions._address import check_address, same_address
from trio_sessions._errors import InvalidInputError
from trio_sessions._model import Path

__all__ = ["Route"]


@attrs.frozen
class Route:
    """What the pool keeps one session of.

    Attributes:
        relayer: the one relayer, both ways; ``None`` for a session by hops.
        destination: the exit node; ``None`` leaves the choice to the pool.
        hops: the number of relayers that the node may pick; ``None`` for a pinned session.
    """

    relayer: str | None = None
    destination: str | None = None
    hops: int | None = None

    @classmethod
    def of(cls, relayer: str | None, destination: str | None, hops: int | None) -> Route:
        """A route from what a caller gave.

        Raises:
            InvalidInputError: neither or both of relayer and hops, or an address of a wrong form.
        """
        if relayer is None and hops is None:
            raise InvalidInputError("relayer", "", "is missing", "give a relayer, or a destination and hops")
        if relayer is not None and hops is not None:
            raise InvalidInputError("hops", hops, "cannot be given together with a relayer", "leave one of them out")
        if hops is not None and destination is None:
            raise InvalidInputError("destination", "", "is missing", "a session by hops needs one")
        if destination is not None:
            check_address(destination, "destination")
        if hops is not None:
            Path(hops=hops)
        if relayer is not None:
            check_address(relayer, "relayer")
            if destination is not None and same_address(relayer, destination):
                raise InvalidInputError("destination", destination, "is the relayer", "choose another destination")
        return cls(relayer, destination, hops)

    @property
    def key(self) -> tuple[str, int | None]:
        """What makes two demands the same session: the relayer; or destination and hops."""
        return ((self.relayer or self.destination or "").lower(), self.hops)

    @property
    def path(self) -> Path:
        """The path of either direction."""
        return Path(hops=self.hops) if self.relayer is None else Path(via=(self.relayer,))

    def __str__(self) -> str:
        if self.relayer is not None:
            return self.relayer
        hops = f"{self.hops} hop{'' if self.hops == 1 else 's'}"
        return hops if self.destination is None else f"{hops} to {self.destination}"
