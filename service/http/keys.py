"""API keys over HTTP: `Authorization: Bearer ...`, looked at before anything of a body is read."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from service.front import Front
from service.keys import Key, Scope, holder

_BEARER: Final = HTTPBearer(auto_error=False, description="a key made by `prelim key`", scheme_name="key")


@dataclass(frozen=True)
class AsksFor:
    """What a route depends on: the key that asks, if it is for `scope`; 401 without a known key, 403 without scope."""

    scope: Scope

    def __call__(
        self, request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)] = None
    ) -> Key:
        """The key of this request."""
        front: Front = request.app.state.front
        key = holder(front.keys, given.credentials if given else None)
        if key is None:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        if self.scope not in key.scopes:
            raise HTTPException(403)
        return key

    async def before_the_body(self, request: Request) -> None:
        """The same refusals, before anything that a stranger sends is read."""
        self(request, await _BEARER(request))
