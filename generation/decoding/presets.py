"""The published ways of decoding from several branches, and ours, as values of one form.

    f(v) = sum_k w_k(step) * log p_k(v) + bias(v),    v among the tokens plausible under one branch

Numbers only: what stands in a branch is the prompts' business, the arithmetic is `combine`'s. Importing this needs no
torch, so that a request can be checked where no model runs. Each preset names where its numbers come from; where code
and paper differ, the code that produced the published figures decides.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from pydantic import Field, model_validator

from prompts.message import Blinding, Branch
from retrieval.record import Record

PresetName = Literal["plain", "prompt", "ccd", "vcd", "icd", "cad", "m3id", "grounded"]
"""What a request may ask for."""
BiasMode = Literal["none", "phrases", "published"]
"""No bias; ours on phrases (`bias.PhraseBias`); CCD's on word heads (`bias.published_bias`)."""

LONGEST_GROWTH: Final = 80.0
"""Exponent at which M3ID's weight stops growing (token 4,000): beyond it a product would leave float32."""


class Cut(NamedTuple):
    """Which tokens may be chosen: those with at least `beta` times the probability of the likeliest."""

    branch: int
    """Row of the branch that is asked."""
    beta: float
    """In (0, 1]; 1 leaves only the likeliest tokens, and ties."""


class Plausible(Record):
    """The adaptive plausibility constraint of contrastive decoding (Li et al. 2023), on one branch."""

    branch: Branch
    """The branch that is asked."""
    beta: float = Field(default=0.1, gt=0, le=1)
    """Least share of the likeliest token's probability that a token must have."""


class Preset(Record):
    """One way to decode: branches, their weights, what may be chosen and what is leant towards."""

    name: PresetName
    """What a request calls it."""
    branches: tuple[Branch, ...] = Field(min_length=1)
    """In the order of the weights, and of the rows of whatever computes them."""
    constant: tuple[float, ...] = ()
    """Weights that hold at every step; empty when they follow `growth`. They sum to 1."""
    growth: float | None = Field(default=None, gt=0)
    """M3ID's lambda: with g = exp(-lambda * t) and t counted from 1 the weights are (1/g, 1 - 1/g)."""
    plausible: Plausible | None = None
    """Which tokens may be chosen; None lets any token win, as CCD and CAD do."""
    bias: BiasMode = "none"
    """What is added to the sum."""
    bias_weight: float = Field(default=0, ge=0, le=1)
    """Share of the bias that is added: CCD's beta, for (1-beta)*s + beta*(s+b) = s + beta*b."""
    gamma: float = Field(default=10, gt=1)
    """The bias is capped at plus and minus ln(gamma), before its share is taken."""
    no_repeat: int = Field(default=0, ge=0)
    """No run of so many tokens is written twice in a draft; 0 allows all. CCD's loop counts its prompt's runs, too."""
    blinding: Blinding | None = None
    """How the blind branch is blinded; None when there is none."""
    source: str
    """Where the numbers come from."""

    @model_validator(mode="after")
    def _fits_together(self) -> "Preset":
        if len(set(self.branches)) != len(self.branches):
            raise ValueError("a branch is named twice")
        if self.growth is None:
            if len(self.constant) != len(self.branches) or not math.isclose(sum(self.constant), 1):
                raise ValueError("there must be one weight for each branch, and they must sum to 1")
        elif self.constant or len(self.branches) != 2:
            raise ValueError("growing weights are for two branches and replace constant ones")
        if self.plausible is not None and self.plausible.branch not in self.branches:
            raise ValueError("the branch that cuts is not among the branches")
        if (self.blinding is None) == ("blind" in self.branches):
            raise ValueError("a blind branch, and only that, needs its blinding")
        if (self.bias == "none") != (self.bias_weight == 0):
            raise ValueError("a bias, and only that, needs its weight")
        return self

    def weights(self, step: int) -> tuple[float, ...]:
        """The weights for the token generated at `step`, counted from 0, in the order of `branches`."""
        if step < 0:
            raise ValueError(f"step {step} is before the first token")
        if self.growth is None:
            return self.constant
        grown = math.exp(min(self.growth * (step + 1), LONGEST_GROWTH))
        return (grown, 1 - grown)

    @property
    def cut(self) -> Cut | None:
        """The cut by row instead of by name, as `combine` takes it."""
        if self.plausible is None:
            return None
        return Cut(self.branches.index(self.plausible.branch), self.plausible.beta)

    def scaled(self, bias: Mapping[int, float]) -> dict[int, float]:
        """The share of a bias that this preset adds; a ban (minus infinity) stays one."""
        return {token: self.bias_weight * value for token, value in bias.items()}


_ON_STUDY: Final = Plausible(branch="study", beta=0.1)

PRESETS: Final[Mapping[PresetName, Preset]] = {
    preset.name: preset
    for preset in (
        Preset(name="plain", branches=("study",), constant=(1.0,), source="ordinary decoding"),
        Preset(
            name="prompt",
            branches=("anchored",),
            constant=(1.0,),
            source="the anchor of CCD in the only prompt: its alpha = 1 (figure 3), without its bias",
        ),
        Preset(
            name="ccd",
            branches=("study", "anchored"),
            constant=(0.5, 0.5),  # alpha = .5
            bias="published",
            bias_weight=0.5,
            no_repeat=3,
            source="CCD (arXiv 2509.23379), code v1.0.0, greedy",
        ),
        Preset(
            name="vcd",
            branches=("study", "blind"),
            constant=(2.0, -1.0),  # alpha = 1
            plausible=_ON_STUDY,
            blinding="noised_image",
            source="VCD (CVPR 2024), scripts of its code: alpha 1, beta .1, diffusion noise of step 500 of 1,000",
        ),
        Preset(
            name="icd",
            branches=("study", "blind"),
            constant=(2.0, -1.0),  # alpha = 1
            plausible=_ON_STUDY,
            blinding="disturbed_instruction",
            source="ICD (Findings of ACL 2024), its code: alpha 1, beta .1",
        ),
        Preset(
            name="cad",
            branches=("evidence", "study"),
            constant=(1.5, -0.5),  # alpha = .5
            source="CAD (NAACL 2024), its code for summaries: weights 1.5 and -.5, no cut",
        ),
        Preset(
            name="m3id",
            branches=("study", "blind"),
            growth=0.02,
            plausible=_ON_STUDY,
            blinding="no_image",
            source="M3ID (CVPR 2024) as re-implemented in AvisC's code: lambda .02, t from 1, beta .1",
        ),
        Preset(
            name="grounded",
            branches=("study", "anchored", "evidence"),
            constant=(0.5, 0.25, 0.25),
            plausible=_ON_STUDY,
            bias="phrases",
            bias_weight=0.5,
            source="ours; a starting point (half the weight on the bare study, always cut) until the ablation decides",
        ),
    )
}
"""Every preset by name; published ones with their published numbers."""
