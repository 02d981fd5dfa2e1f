"""What a request that is a member of a group may ask for beside it; anything that one row alone would obey is refused.

In: vLLM's sampling parameters. Out: nothing, or ValueError, which its servers answer with HTTP 400. Masks (a grammar,
banned or allowed tokens) pass, since what one row forbids is forbidden for its group.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

from generation.vllm.group import Member, member_in

MOST_PHRASES: Final = 20_000
"""Wordings of all phrases together: several times the ontology's, and few enough that no request holds a step up."""
LONGEST_PHRASE: Final = 200
"""Characters."""

_NEUTRAL: Final[Mapping[str, tuple[object, ...]]] = {
    "n": (1,),
    "temperature": (0,),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "seed": (None,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "repetition_penalty": (1,),
    "logit_bias": (None, {}),
    "logprobs": (None,),
    "prompt_logprobs": (None,),
    "logprob_token_ids": (None, []),
    "thinking_token_budget": (None,),
    "repetition_detection": (None,),
    "trace_decode_token_ids": (None, []),
}
"""What each parameter must be. Servers fill what is left out from the model's generation_config.json."""


def check_member(params: Any) -> Member | None:  # noqa: ANN401 - vLLM is not imported here
    """The member that these parameters describe, checked; None for an ordinary request.

    Raises ValueError for a member that cannot be decoded in step with its others.
    """
    member = member_in(params.extra_args)
    if member is None:
        return None
    for name, neutral in _NEUTRAL.items():
        if (said := getattr(params, name, neutral[0])) not in neutral:
            raise ValueError(
                f"a member of a group needs {name}={neutral[0]}, not {said}: its own temperature and seed stand in "
                "the group, and nothing else may be done to one of its rows"
            )
    if params.max_tokens is None:
        raise ValueError("a member of a group needs max_tokens, the same for all of them")
    if not math.isfinite(member.temperature):
        raise ValueError("the temperature of a group is a number")
    wordings = [wording for phrase in member.phrases for wording in (phrase.label, *phrase.forms)]
    if len(wordings) > MOST_PHRASES:
        raise ValueError(f"a group leans on {len(wordings)} wordings, and at most {MOST_PHRASES} are taken")
    if not all(map(str.strip, wordings)) or max(map(len, wordings), default=0) > LONGEST_PHRASE:
        raise ValueError(f"a phrase is blank or has more than {LONGEST_PHRASE} characters")
    return member
