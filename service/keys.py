"""Static API keys with scopes: who may ask for what, on every face.

A file names each key by its SHA-256 and says what it is for; the keys themselves are random (`prelim key`), so a fast
hash is as good as a slow one: there is no dictionary of 256-bit numbers. Without a file everybody on this machine may
ask for everything, and the service listens to this machine only.
"""

import hashlib
import hmac
import ipaddress
import secrets
from pathlib import Path
from typing import Final, Literal, get_args

from pydantic import Field, TypeAdapter, ValidationError

from retrieval.errors import RequestError
from retrieval.record import Record

Scope = Literal["draft", "search", "cases", "check", "jobs", "metrics"]
"""What a key may be used for: drafts; similar cases; reports and images of cases; checks; jobs; figures."""
SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)


class Key(Record):
    """One key, as the file has it."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,40}$")
    """Who holds it, as logs and jobs name them; not a person's name."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """Of the key, in hex."""
    scopes: frozenset[Scope]
    """What it is for."""


LOCAL: Final = Key(name="local", sha256="0" * 64, scopes=frozenset(SCOPES))
"""Who asks where no keys are asked for."""


def new_key(name: str, scopes: frozenset[Scope]) -> tuple[str, Key]:
    """A new key, to be shown once, and the entry for the file; raises RequestError for a name that is none."""
    secret = "prelim_" + secrets.token_urlsafe(32)
    try:
        return secret, Key(name=name, sha256=_digest(secret), scopes=scopes)
    except ValidationError:
        raise RequestError(
            "the name of a key has 1 to 40 small letters, digits, - and _", fix="choose one for whoever will hold it"
        ) from None


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a JSON file; raises RequestError for one that is not a list of keys, or names somebody twice."""
    try:
        keys = TypeAdapter(tuple[Key, ...]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        # Not chained: what pydantic says of it quotes the file.
        raise RequestError(
            f"{path} is not a file of API keys", fix="write a JSON list of what `prelim key` prints"
        ) from None
    if not keys:
        raise RequestError(f"{path} names no key, so nobody could ask for anything", fix="make one with `prelim key`")
    if len({key.name for key in keys}) < len(keys):
        raise RequestError(f"{path} names a holder twice", fix="give every key a name of its own")
    return keys


def holder(keys: tuple[Key, ...] | None, secret: str | None) -> Key | None:
    """Whose key this is; None for nobody's. `keys` is None where no keys are asked for."""
    if keys is None:
        return LOCAL
    digest = _digest(secret or "")
    found = None
    for key in keys:  # all of them, so that the time says nothing
        if hmac.compare_digest(key.sha256, digest):
            found = key
    return found


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can be reached by this name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
