"""Open Imaging Finding Models: one JSON definition a file, from the folder `defs` of the public repository.

Kept are name, synonyms, tags, index codes as cross-references, and the values of every choice attribute: presence and
change from the previous study are the two that nearly all models have. Descriptions stay where they are.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from retrieval.errors import InvalidVocabulary
from retrieval.vocabularies.layer import Layer
from retrieval.vocabularies.licences import FINDING_MODELS, Acknowledgement, check
from retrieval.vocabularies.reading import OnProgress, Reading, invalid, unheard
from retrieval.vocabularies.writing import LayerDraft, write_layer


class _Definition(BaseModel):
    """What is read of a definition; fields that are not named here are passed over, as the format grows."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class _IndexCode(_Definition):
    system: str = Field(min_length=1)
    code: str = Field(min_length=1)


class _Value(_Definition):
    name: str


class _Attribute(_Definition):
    name: str
    type: Literal["choice", "numeric"] = "choice"
    values: tuple[_Value, ...] = ()


class _FindingModel(_Definition):
    oifm_id: str = Field(pattern=r"^OIFM_[A-Z]{3,4}_\d{6}$")
    name: str = Field(min_length=1)
    synonyms: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    index_codes: tuple[_IndexCode, ...] | None = None
    attributes: tuple[_Attribute, ...]


def import_finding_models(
    path: Path,
    out: Path,
    acknowledged: Acknowledgement | None = None,
    *,
    release: str = "",
    on_progress: OnProgress = unheard,
) -> Layer:
    """Make a layer of the repository's folder, its `defs`, or one definition. Name the release: the files have none."""
    accepted = check(FINDING_MODELS, acknowledged)
    folder = path / "defs" if (path / "defs").is_dir() else path
    files = sorted(folder.glob("*.fm.json")) if folder.is_dir() else [path]
    if not files:
        raise InvalidVocabulary(f"{path.name} holds no file named *.fm.json", fix="name the repository's folder")

    def facts(draft: LayerDraft) -> tuple[str, str]:
        reading = Reading(files, on_progress)
        seen: dict[str, str] = {}
        for file in files:
            with reading.open(file) as source:
                model = _parse(source.read(), file.name)
            other = seen.setdefault(model.oifm_id, file.name)
            if other != file.name:
                raise invalid(file.name, f"has the id of {other}", fix="take one of the two away")
            _model(draft, model)
        return release, reading.checksum()

    return write_layer(out, "OIFM", "OIFM", FINDING_MODELS, accepted, facts)


def _model(draft: LayerDraft, model: _FindingModel) -> None:
    draft.name(model.oifm_id, model.name)
    for synonym in model.synonyms or ():
        draft.name(model.oifm_id, synonym, rank=1)
    for tag in model.tags or ():
        draft.kind(model.oifm_id, tag)
    for code in model.index_codes or ():
        draft.xref(model.oifm_id, code.system, code.code)
    for attribute in model.attributes:
        for value in attribute.values:
            draft.attribute(model.oifm_id, attribute.name.lower(), value.name)


def _parse(body: bytes, file: str) -> _FindingModel:
    # `from None` throughout: the causes hold what stands in the file
    try:
        return _FindingModel.model_validate(json.loads(body.decode()))
    except UnicodeDecodeError:
        raise invalid(file, "is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise invalid(file, "is not JSON, or is cut off", line=error.lineno) from None
    except ValidationError as error:
        fields = sorted({".".join(map(str, fault["loc"])) or "the whole" for fault in error.errors()})
        raise invalid(file, f"is no finding model: {', '.join(fields[:5])}") from None
