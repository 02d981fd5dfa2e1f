"""What makes requests of one vLLM engine a group: the record that each member carries in one extra argument.

Written by the generators, read inside vLLM by the scheduler and the processors, which decode the members as one draft.
vLLM itself is not imported here, so that a client can write what a server elsewhere reads.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pydantic import Field, ValidationError, model_validator

from generation.decoding.generator import Phrase
from generation.decoding.presets import Preset
from prompts.message import Branch
from retrieval.record import Record

ARGUMENT: Final = "prelim_group"
"""Name of the extra argument; over HTTP it stands in `vllm_xargs`."""


class Member(Record):
    """One branch of a draft, as one request of the engine. All members of a group say the same but for `branch`."""

    group: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Equal for the members of one draft, and of no other draft while this one lives."""
    branch: Branch
    """Which branch this request is the prompt of."""
    preset: Preset
    """How the branches are mixed; a member comes for each of its branches."""
    phrases: tuple[Phrase, ...] = ()
    """What a bias leans on."""
    temperature: float = Field(default=0.0, ge=0.0)
    """Of the draws made for the group; the request itself says 0, since the engine must not draw again."""
    seed: int = Field(default=0, ge=0)
    """Of the draws."""

    @model_validator(mode="after")
    def _branch_is_mixed(self) -> "Member":
        if self.branch not in self.preset.branches:
            raise ValueError(f"preset {self.preset.name} mixes no branch {self.branch}")
        return self

    @property
    def size(self) -> int:
        """How many members the group has."""
        return len(self.preset.branches)

    @property
    def row(self) -> int:
        """The place of this branch among the preset's."""
        return self.preset.branches.index(self.branch)

    def arguments(self) -> dict[str, str]:
        """The extra arguments that carry this record."""
        return {ARGUMENT: self.model_dump_json()}


def member_in(extra: Mapping[str, object] | None) -> Member | None:
    """The member that a request's extra arguments describe; None for an ordinary request.

    Raises ValueError, which vLLM answers with HTTP 400, for arguments that describe none.
    """
    said = (extra or {}).get(ARGUMENT)
    if said is None:
        return None
    if not isinstance(said, str):
        raise ValueError(f"{ARGUMENT} must be a JSON text")
    return _read(said)


@lru_cache(maxsize=256)  # the members that run now; with an ontology's phrases one is hundreds of kilobytes
def _read(said: str) -> Member:
    try:
        return Member.model_validate_json(said)
    except ValidationError as error:
        # The input itself is not repeated: phrases may come from a report.
        what = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise ValueError(f"{ARGUMENT}: {what}") from None
