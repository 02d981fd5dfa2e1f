"""Under which terms each vocabulary may be used, and who said that they hold them.

Prelim neither grants nor checks a licence. An importer reads nothing of a vocabulary until somebody has named its
licence, and the layer says for good who did and when.
"""

from datetime import UTC, datetime
from typing import Final

from pydantic import AwareDatetime, Field

from retrieval.errors import LicenceNotAcknowledged
from retrieval.record import Record


class Licence(Record):
    """The terms of one vocabulary."""

    token: str
    """What has to be said to acknowledge it."""
    name: str
    """What the licence is called."""
    text: str
    """Where it can be read."""


class Acknowledgement(Record):
    """Somebody's statement that they are licensed."""

    token: str
    """The licence they named."""
    by: str = Field(min_length=1)
    """Who: a person or an account that can be asked."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    """When."""


UMLS: Final = Licence(
    token="umls",
    name="License Agreement for Use of the UMLS Metathesaurus",
    text="https://uts.nlm.nih.gov/uts/assets/LicenseAgreement.pdf",
)
"""Its appendix restricts some sources further; which sources are in the files was chosen when they were made."""
RADLEX: Final = Licence(
    token="radlex",
    name="RadLex Ontology License",
    text="https://www.rsna.org/radlexdownloads, and in the archive that held the file",
)
SNOMEDCT: Final = Licence(
    token="snomedct",
    name="SNOMED CT Affiliate Licence Agreement",
    text="https://www.snomed.org/license",
)
FINDING_MODELS: Final = Licence(
    token="oifm",
    name="MIT License of the Open Imaging Finding Models",
    text="the file LICENSE of https://github.com/openimagingdata/findingmodels",
)


def obo_licence(ontology: str, text: str) -> Licence:
    """The licence of one OBO ontology; `text` is where its header says the terms are, empty when it does not say."""
    return Licence(
        token=ontology,
        name=f"licence of the OBO ontology {ontology}",
        text=text or f"https://obofoundry.org/ontology/{ontology}.html",
    )


def check(licence: Licence, acknowledgement: Acknowledgement | None) -> Acknowledgement:
    """Give the acknowledgement back when it is for this licence; raises LicenceNotAcknowledged otherwise."""
    if acknowledgement is None or acknowledgement.token != licence.token:
        raise LicenceNotAcknowledged(
            f"this vocabulary may be used only under the {licence.name} (its text: {licence.text})",
            fix=f"if you hold that licence, say so: --accept-licence {licence.token}",
        )
    return acknowledgement
