"""A bound on what waits at a vLLM server: whole groups are let in or turned away, never a part of one.

An ASGI layer that vLLM puts around its own (`--middleware`). In: requests, of which the members of a group carry its
name in a header. Out: the same, or HTTP 503 with `Retry-After`. vLLM's own bound counts requests, so it would let the
first members of a group in and turn the last one away.
"""

import os
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from uuid import uuid4

GROUP_HEADER: Final = "x-prelim-group"
"""Carries the group's name; a request without it is a group of its own."""
MOST_GROUPS: Final = "PRELIM_MOST_GROUPS"
"""Environment variable: how many groups may be in the server at once, written or waiting."""
MOST_GROUPS_DEFAULT: Final = 256
"""Without it."""
RETRY_AFTER_S: Final = 2
"""What those who are turned away are told; clients add their own jitter."""
_WRITING: Final = ("/completions", "/responses", "/messages", "/generate")
"""Paths that end so make the engine work."""
_FULL: Final = b'{"error": {"message": "too many groups wait here", "type": "Overloaded", "code": 503}}'

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class GroupPlaces:
    """Lets so many groups in, and every member of a group that is in."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Around `app`; how many are let in stands in the environment, since vLLM hands nothing else in."""
        self._app = app
        self._most = int(os.environ.get(MOST_GROUPS, MOST_GROUPS_DEFAULT))
        self._inside: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith(_WRITING):
            return await self._app(scope, receive, send)
        named: dict[bytes, bytes] = dict(scope["headers"])
        group = named.get(GROUP_HEADER.encode(), b"").decode("latin-1") or str(uuid4())
        if group not in self._inside and len(self._inside) >= self._most:
            headers = [(b"content-type", b"application/json"), (b"retry-after", str(RETRY_AFTER_S).encode())]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": _FULL})
            return None
        self._inside[group] += 1
        try:
            return await self._app(scope, receive, send)
        finally:
            self._inside[group] -= 1
            if not self._inside[group]:
                del self._inside[group]
