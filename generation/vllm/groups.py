"""Which requests of an engine belong together: bookkeeping without vLLM.

Requests come in, in any order, each with the record that makes it a member; out come groups, whole or still waiting for
a member, and the reasons why a request cannot join. It refuses to know what a request is beyond its id, and when
anything runs: the scheduler decides that.
"""

from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

from generation.vllm.group import Member

REFUSED: Final = "prelim_group_refused"
"""How the stop reason of a request begins that can never be decoded as asked; what is wrong stands behind a colon."""
TIMED_OUT: Final = "prelim_group_timed_out"
"""Stop reason of members whose group never became whole."""
ENDED: Final = "prelim_group_ended"
"""Stop reason of members that were ended because another one was."""
BROKEN: Final = "prelim_group_broken"
"""Stop reason of members whose logits were not numbers."""


class HasId(Protocol):
    """What is asked of a request here."""

    request_id: str
    """Under which the engine knows it."""


R = TypeVar("R", bound=HasId)


class Group(Generic[R]):
    """The requests of one draft, a row for each branch."""

    def __init__(self, first: Member, since: float) -> None:
        self.id: Final = first.group
        """The name that the members share."""
        self.size: Final = first.size
        """How many members make it whole."""
        self.since: Final = since
        """When its first member came."""
        self.admitted = False
        """Whether all members have held their places in the engine at once; it stays so when they lose them again."""
        self._like: Final = _shared(first)
        self._rows: dict[int, R] = {}

    @property
    def members(self) -> list[R]:
        """Those that are here, in the order of the preset's branches."""
        return [self._rows[row] for row in sorted(self._rows)]

    @property
    def whole(self) -> bool:
        """Whether every member is here."""
        return len(self._rows) == self.size

    def objection(self, member: Member) -> str | None:
        """Why this member cannot join, None when it can."""
        if _shared(member) != self._like:
            return "members of a group must say the same but for the branch"
        if member.row in self._rows:
            return f"the group has a member for the branch {member.branch} already"
        return None

    def add(self, member: Member, request: R) -> None:
        """Take the request in; `objection` was asked before."""
        self._rows[member.row] = request


class Groups(Generic[R]):
    """All groups that live in one engine, found by their name or by any member's request."""

    def __init__(self) -> None:
        self._by_name: dict[str, Group[R]] = {}
        self._by_request: dict[str, Group[R]] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Group[R]]:
        """In the order in which their first members came; forgetting some on the way is allowed."""
        return iter(list(self._by_name.values()))

    def of(self, request_id: str) -> Group[R] | None:
        """The group of a request, None for an ordinary request."""
        return self._by_request.get(request_id)

    def join(self, member: Member, request: R, now: float) -> Group[R] | str:
        """The group that the request is now in, or why it is in none."""
        group = self._by_name.get(member.group) or Group(member, now)
        if (why := group.objection(member)) is not None:
            return why
        group.add(member, request)
        self._by_name[group.id] = group
        self._by_request[request.request_id] = group
        return group

    def lives(self, group: Group[R]) -> bool:
        """Whether the group has not been forgotten."""
        return self._by_name.get(group.id) is group

    def forget(self, group: Group[R]) -> None:
        """The group has ended; its name may be used again."""
        if self.lives(group):
            del self._by_name[group.id]
        for request in group.members:
            self._by_request.pop(request.request_id, None)

    def overdue(self, now: float, patience: float) -> list[Group[R]]:
        """Groups that are still not whole after so many seconds."""
        return [group for group in self if not group.whole and now - group.since > patience]


def _shared(member: Member) -> dict[str, object]:
    return {name: value for name, value in member if name != "branch"}
