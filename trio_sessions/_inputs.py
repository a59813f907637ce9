"""What URL and token of a node may look like. Pure, and without httpx, so that a configuration is checked quickly."""

from __future__ import annotations

from urllib.parse import urlsplit

from trio_sessions._errors import InvalidInputError
from trio_sessions._rest_requests import API

__all__ = ["check_token", "check_url", "wrong_url"]

#: The node refuses to start with a shorter token (contract §1.2).
_SHORTEST_TOKEN = 8


def check_url(url: str) -> str:
    """``url`` itself, without slashes at its end.

    Raises:
        InvalidInputError: no http or https URL of a host, or with more than that.
    """
    # A URL may hold a password or a token: then it is not shown.
    shown = None if "@" in url or "?" in url else url
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known or not url.isascii() or not url.isprintable() or " " in url:
        raise wrong_url(shown)
    if shown is None or "#" in url:
        raise wrong_url(shown, "must not hold credentials, a query or a fragment")
    if f"{url.rstrip('/')}/".endswith(f"{API}/"):
        raise wrong_url(shown, f"must not hold the API's base path {API}")
    return url.rstrip("/")


def wrong_url(shown: str | None, rule: str = "not an http or https URL with a host") -> InvalidInputError:
    """The error for a URL that breaks ``rule``; ``None`` shows nothing of it."""
    return InvalidInputError("URL", shown, rule, "write for example http://127.0.0.1:3001")


def check_token(token: str) -> None:
    """Check that ``token`` can be one: a byte that is no visible ASCII may end a daemon of 3.x (contract §1.2).

    Raises:
        InvalidInputError: it wouldn't; the token is not shown.
    """
    if len(token) < _SHORTEST_TOKEN:
        rule = f"has fewer than {_SHORTEST_TOKEN} characters"
        raise InvalidInputError("API token", None, rule, "take the one of the node's configuration")
    if not all("!" <= char <= "~" for char in token):
        rule = "has other characters than visible ASCII"
        raise InvalidInputError("API token", None, rule, "look for spaces and line ends")
