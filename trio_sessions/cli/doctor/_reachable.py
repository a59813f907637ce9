"""Whether the API is there, and lets us in."""

from __future__ import annotations

from urllib.parse import urlsplit

from trio_sessions import (
    Hoprd,
    MalformedReplyError,
    NodeError,
    NotAcceptableError,
    NotFoundError,
    OutcomeUnknownError,
    RejectedError,
    UnauthorizedError,
)
from trio_sessions.cli._token import TOKEN_VARIABLE
from trio_sessions.cli.doctor._case import Case
from trio_sessions.cli.doctor._finding import Finding, fail, ok, warn
from trio_sessions.cli.doctor._look import NoAnswerError, look

__all__ = ["PATIENCE", "check_api", "check_token"]

#: Seconds for one answer; a node that is well gives it in milliseconds.
PATIENCE = 5.0

_NO_HOPRD = (MalformedReplyError, NotAcceptableError, NotFoundError, RejectedError)


async def check_api(case: Case) -> Finding:
    """Something answers at the URL, in the scheme that it names, and it is a hoprd."""
    url = case.hoprd.url
    try:
        case.look = await look(url, timeout=PATIENCE)
    except NoAnswerError as answer:
        return fail(answer.problem, *answer.remedy)
    try:
        # Without a token: what tells a hoprd from others is public, and ours is for a hoprd alone.
        async with Hoprd(url, timeout=PATIENCE) as stranger:
            await stranger.addresses()
        case.needs_token = False
    except UnauthorizedError as error:
        if error.word is None:
            remedy = "check that the URL is the node's own: a proxy asks for a password there"
            return fail(f"what answers at {url} asks for other credentials than hoprd's", remedy)
    except _NO_HOPRD as error:
        steps = (
            "check host and port of the URL, and that it has no path",
            "check what runs there: some other web server",
        )
        return fail(f"{url} answers, but is no hoprd: {error}", *steps)
    except OutcomeUnknownError as error:
        return fail(f"{url} takes connections, and does not answer: {error}", "restart the daemon if it hangs")
    except NodeError as error:
        return fail(f"{url} answers with an error: {error}", "read the daemon's log, and that of a proxy before it")
    return ok(f"a hoprd answers at {url}", url=url, seconds=round(case.look.seconds, 6))


async def check_token(case: Case) -> Finding:
    """The node takes our token; and it asks for one at all."""
    where = urlsplit(case.hoprd.url).netloc
    if not case.needs_token:
        remedy = f"set a token in the daemon's configuration, unless you alone reach {where}"
        return warn("the API asks for no token: whoever reaches it may use the node", remedy, needed=False)
    if case.access.token is None:
        remedy = f"give it in a file, --token-file FILE, or in the environment, {TOKEN_VARIABLE}"
        return fail("the API asks for a token, and none is given", remedy, needed=True)
    try:
        await case.hoprd.addresses()
    except UnauthorizedError:
        return fail(
            "the node refuses the token",
            "take the token of this node's configuration (api.auth), and look for a mix-up of nodes",
            f"check where it came from: --token-file goes before {TOKEN_VARIABLE}",
            needed=True,
        )
    return ok("the node takes the token", needed=True)
