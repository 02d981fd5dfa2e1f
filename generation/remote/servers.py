"""Which of several servers gets the next group: the least loaded among those that work and are not busy.

Loads are those this client has put on them; what other clients do shows as 429 and 503. Not for use from several
threads.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

from generation.remote.breaker import Breaker, Outcome
from retrieval.errors import GeneratorUnavailable, RequestError


class NotBegun(Exception):
    """A server took nothing up, so that another, or the same one later, may be asked."""

    def __init__(self, error: GeneratorUnavailable | None, *, retry_after_s: float = 0.0) -> None:
        """`error` where the server is at fault; None where it is only busy, until after `retry_after_s`."""
        super().__init__()
        self.error = error
        self.retry_after_s = retry_after_s


class Server:
    """One server, as this client has come to know it."""

    def __init__(self, url: str, clock: Callable[[], float]) -> None:
        """`url` up to and without `/v1`."""
        self.url = _checked(url)
        self.breaker = Breaker(clock)
        self.groups = 0
        """How many groups of ours it works on."""
        self.trouble: GeneratorUnavailable | None = None
        """Why it last failed; None when it last worked."""
        self._clock = clock
        self._busy_until = 0.0

    @property
    def busy_for(self) -> float:
        """Seconds until it wants to be asked again; 0 when it may be asked."""
        return max(0.0, self._busy_until - self._clock())

    @contextmanager
    def group(self) -> Iterator[None]:
        """One group on this server: what is raised inside tells the breaker how it went."""
        begun = self.breaker.begin()
        self.groups += 1
        outcome: Outcome = "neither"
        try:
            yield
            outcome, self.trouble = "success", None
        except NotBegun as refused:
            if refused.error is not None:
                outcome, self.trouble = "failure", refused.error
            self._busy_until = self._clock() + refused.retry_after_s
            raise
        except GeneratorUnavailable as error:
            outcome, self.trouble = "failure", error
            raise
        except RequestError:
            outcome = "success"
            raise
        finally:
            self.groups -= 1
            self.breaker.end(begun, outcome)


class Servers:
    """All the servers that serve one language model."""

    def __init__(self, urls: Sequence[str], clock: Callable[[], float]) -> None:
        if not urls:
            raise RequestError("no server was named", fix="name at least one, as http://host:8000")
        self._servers = [Server(url, clock) for url in dict.fromkeys(urls)]

    def best(self, asked: Collection[Server]) -> Server:
        """The server to ask next; one of `asked` only when no other works.

        Raises GeneratorUnavailable when none works, with what the one that comes back first did.
        """
        working = [server for server in self._servers if server.breaker.admits]
        if not working:
            soonest = min(self._servers, key=lambda server: server.breaker.rest_left)
            what, why = f"none of {len(self._servers)} language model servers works", soonest.trouble
            raise GeneratorUnavailable(f"{what}: {why.what}" if why else what, fix=why.fix if why else "")
        return min(working, key=lambda server: (server in asked, server.busy_for > 0, server.groups))


def _checked(url: str) -> str:
    no_url = RequestError("a language model server's address is no http or https URL", fix="write http://host:8000")
    try:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise no_url
    except ValueError:  # a port that is no number
        raise no_url from None
    if parts.username or parts.password or parts.query or parts.fragment:
        raise RequestError(
            f"the address of the server on {parts.hostname} carries more than host, port and path",
            fix="put the key into the environment, and leave the rest away",
        )
    return url.rstrip("/").removesuffix("/v1")
