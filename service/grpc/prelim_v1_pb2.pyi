from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DraftRequest(_message.Message):
    __slots__ = ("images", "view", "patient_key", "indication", "technique", "comparison", "priors", "written_by", "preset", "seed", "temperature", "max_new_tokens", "deadline_s")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    PATIENT_KEY_FIELD_NUMBER: _ClassVar[int]
    INDICATION_FIELD_NUMBER: _ClassVar[int]
    TECHNIQUE_FIELD_NUMBER: _ClassVar[int]
    COMPARISON_FIELD_NUMBER: _ClassVar[int]
    PRIORS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_BY_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_S_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    view: str
    patient_key: str
    indication: str
    technique: str
    comparison: str
    priors: _containers.RepeatedScalarFieldContainer[str]
    written_by: str
    preset: str
    seed: int
    temperature: float
    max_new_tokens: int
    deadline_s: float
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., view: _Optional[str] = ..., patient_key: _Optional[str] = ..., indication: _Optional[str] = ..., technique: _Optional[str] = ..., comparison: _Optional[str] = ..., priors: _Optional[_Iterable[str]] = ..., written_by: _Optional[str] = ..., preset: _Optional[str] = ..., seed: _Optional[int] = ..., temperature: _Optional[float] = ..., max_new_tokens: _Optional[int] = ..., deadline_s: _Optional[float] = ...) -> None: ...

class Draft(_message.Message):
    __slots__ = ("status", "reason", "explanation", "sentences", "warnings", "similar_cases", "drafter", "snapshot", "fallback", "dropped", "software", "record_json")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    SENTENCES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    SIMILAR_CASES_FIELD_NUMBER: _ClassVar[int]
    DRAFTER_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    status: str
    reason: str
    explanation: str
    sentences: _containers.RepeatedCompositeFieldContainer[Sentence]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    similar_cases: _containers.RepeatedCompositeFieldContainer[SimilarCase]
    drafter: str
    snapshot: str
    fallback: str
    dropped: _containers.ScalarMap[str, int]
    software: str
    record_json: bytes
    def __init__(self, status: _Optional[str] = ..., reason: _Optional[str] = ..., explanation: _Optional[str] = ..., sentences: _Optional[_Iterable[_Union[Sentence, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., similar_cases: _Optional[_Iterable[_Union[SimilarCase, _Mapping]]] = ..., drafter: _Optional[str] = ..., snapshot: _Optional[str] = ..., fallback: _Optional[str] = ..., dropped: _Optional[_Mapping[str, int]] = ..., software: _Optional[str] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class Sentence(_message.Message):
    __slots__ = ("text", "section", "topic", "abnormal", "support", "flags")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    SECTION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    ABNORMAL_FIELD_NUMBER: _ClassVar[int]
    SUPPORT_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    text: str
    section: str
    topic: str
    abnormal: bool
    support: Support
    flags: _containers.RepeatedCompositeFieldContainer[Flag]
    def __init__(self, text: _Optional[str] = ..., section: _Optional[str] = ..., topic: _Optional[str] = ..., abnormal: _Optional[bool] = ..., support: _Optional[_Union[Support, _Mapping]] = ..., flags: _Optional[_Iterable[_Union[Flag, _Mapping]]] = ...) -> None: ...

class Support(_message.Message):
    __slots__ = ("case_ids", "of", "experts", "prior")
    CASE_IDS_FIELD_NUMBER: _ClassVar[int]
    OF_FIELD_NUMBER: _ClassVar[int]
    EXPERTS_FIELD_NUMBER: _ClassVar[int]
    PRIOR_FIELD_NUMBER: _ClassVar[int]
    case_ids: _containers.RepeatedScalarFieldContainer[str]
    of: int
    experts: _containers.RepeatedScalarFieldContainer[str]
    prior: bool
    def __init__(self, case_ids: _Optional[_Iterable[str]] = ..., of: _Optional[int] = ..., experts: _Optional[_Iterable[str]] = ..., prior: _Optional[bool] = ...) -> None: ...

class Flag(_message.Message):
    __slots__ = ("code", "severity", "explanation")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    code: str
    severity: str
    explanation: str
    def __init__(self, code: _Optional[str] = ..., severity: _Optional[str] = ..., explanation: _Optional[str] = ...) -> None: ...

class DraftEvent(_message.Message):
    __slots__ = ("sentence", "withdrawn", "draft")
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    sentence: ToldSentence
    withdrawn: ToldSentence
    draft: Draft
    def __init__(self, sentence: _Optional[_Union[ToldSentence, _Mapping]] = ..., withdrawn: _Optional[_Union[ToldSentence, _Mapping]] = ..., draft: _Optional[_Union[Draft, _Mapping]] = ...) -> None: ...

class ToldSentence(_message.Message):
    __slots__ = ("number", "sentence", "record_json")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SENTENCE_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    number: int
    sentence: Sentence
    record_json: bytes
    def __init__(self, number: _Optional[int] = ..., sentence: _Optional[_Union[Sentence, _Mapping]] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class BulkRequest(_message.Message):
    __slots__ = ("item", "request")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    item: str
    request: DraftRequest
    def __init__(self, item: _Optional[str] = ..., request: _Optional[_Union[DraftRequest, _Mapping]] = ...) -> None: ...

class BulkReply(_message.Message):
    __slots__ = ("item", "draft", "fault")
    ITEM_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    item: str
    draft: Draft
    fault: Fault
    def __init__(self, item: _Optional[str] = ..., draft: _Optional[_Union[Draft, _Mapping]] = ..., fault: _Optional[_Union[Fault, _Mapping]] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("code", "title", "detail", "fix", "trace_id", "fields", "retry_after_s")
    CODE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    FIX_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_S_FIELD_NUMBER: _ClassVar[int]
    code: str
    title: str
    detail: str
    fix: str
    trace_id: str
    fields: _containers.RepeatedCompositeFieldContainer[FieldFault]
    retry_after_s: float
    def __init__(self, code: _Optional[str] = ..., title: _Optional[str] = ..., detail: _Optional[str] = ..., fix: _Optional[str] = ..., trace_id: _Optional[str] = ..., fields: _Optional[_Iterable[_Union[FieldFault, _Mapping]]] = ..., retry_after_s: _Optional[float] = ...) -> None: ...

class FieldFault(_message.Message):
    __slots__ = ("field", "what")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    WHAT_FIELD_NUMBER: _ClassVar[int]
    field: str
    what: str
    def __init__(self, field: _Optional[str] = ..., what: _Optional[str] = ...) -> None: ...

class SearchRequest(_message.Message):
    __slots__ = ("images", "view", "text", "findings", "anatomy", "like", "legs", "patient_key", "sex", "age_bands", "sources", "licences", "views", "limit", "offset")
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    ANATOMY_FIELD_NUMBER: _ClassVar[int]
    LIKE_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    PATIENT_KEY_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    AGE_BANDS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    LICENCES_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    images: _containers.RepeatedScalarFieldContainer[bytes]
    view: str
    text: str
    findings: _containers.RepeatedScalarFieldContainer[str]
    anatomy: str
    like: str
    legs: _containers.RepeatedScalarFieldContainer[str]
    patient_key: str
    sex: str
    age_bands: _containers.RepeatedScalarFieldContainer[str]
    sources: _containers.RepeatedScalarFieldContainer[str]
    licences: _containers.RepeatedScalarFieldContainer[str]
    views: _containers.RepeatedScalarFieldContainer[str]
    limit: int
    offset: int
    def __init__(self, images: _Optional[_Iterable[bytes]] = ..., view: _Optional[str] = ..., text: _Optional[str] = ..., findings: _Optional[_Iterable[str]] = ..., anatomy: _Optional[str] = ..., like: _Optional[str] = ..., legs: _Optional[_Iterable[str]] = ..., patient_key: _Optional[str] = ..., sex: _Optional[str] = ..., age_bands: _Optional[_Iterable[str]] = ..., sources: _Optional[_Iterable[str]] = ..., licences: _Optional[_Iterable[str]] = ..., views: _Optional[_Iterable[str]] = ..., limit: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class SimilarCases(_message.Message):
    __slots__ = ("in_scope", "reason", "explanation", "warnings", "cases", "snapshot", "legs", "record_json")
    IN_SCOPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    LEGS_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    in_scope: bool
    reason: str
    explanation: str
    warnings: _containers.RepeatedScalarFieldContainer[str]
    cases: _containers.RepeatedCompositeFieldContainer[SimilarCase]
    snapshot: str
    legs: _containers.RepeatedScalarFieldContainer[str]
    record_json: bytes
    def __init__(self, in_scope: _Optional[bool] = ..., reason: _Optional[str] = ..., explanation: _Optional[str] = ..., warnings: _Optional[_Iterable[str]] = ..., cases: _Optional[_Iterable[_Union[SimilarCase, _Mapping]]] = ..., snapshot: _Optional[str] = ..., legs: _Optional[_Iterable[str]] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class SimilarCase(_message.Message):
    __slots__ = ("case_id", "rank", "similarity", "report", "source", "licence", "attribution", "sex", "age_band", "found_by", "shared", "contradicting")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    AGE_BAND_FIELD_NUMBER: _ClassVar[int]
    FOUND_BY_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    CONTRADICTING_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    rank: int
    similarity: float
    report: str
    source: str
    licence: str
    attribution: str
    sex: str
    age_band: str
    found_by: _containers.RepeatedCompositeFieldContainer[FoundBy]
    shared: _containers.RepeatedScalarFieldContainer[str]
    contradicting: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, case_id: _Optional[str] = ..., rank: _Optional[int] = ..., similarity: _Optional[float] = ..., report: _Optional[str] = ..., source: _Optional[str] = ..., licence: _Optional[str] = ..., attribution: _Optional[str] = ..., sex: _Optional[str] = ..., age_band: _Optional[str] = ..., found_by: _Optional[_Iterable[_Union[FoundBy, _Mapping]]] = ..., shared: _Optional[_Iterable[str]] = ..., contradicting: _Optional[_Iterable[str]] = ...) -> None: ...

class FoundBy(_message.Message):
    __slots__ = ("leg", "rank", "similarity")
    LEG_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    leg: str
    rank: int
    similarity: float
    def __init__(self, leg: _Optional[str] = ..., rank: _Optional[int] = ..., similarity: _Optional[float] = ...) -> None: ...

class GetCaseRequest(_message.Message):
    __slots__ = ("case_id",)
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    def __init__(self, case_id: _Optional[str] = ...) -> None: ...

class Case(_message.Message):
    __slots__ = ("case_id", "report", "views", "source", "licence", "attribution", "sex", "age_band", "record_json")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LICENCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    SEX_FIELD_NUMBER: _ClassVar[int]
    AGE_BAND_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    report: str
    views: _containers.RepeatedScalarFieldContainer[str]
    source: str
    licence: str
    attribution: str
    sex: str
    age_band: str
    record_json: bytes
    def __init__(self, case_id: _Optional[str] = ..., report: _Optional[str] = ..., views: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., licence: _Optional[str] = ..., attribution: _Optional[str] = ..., sex: _Optional[str] = ..., age_band: _Optional[str] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class GetImageRequest(_message.Message):
    __slots__ = ("case_id", "number", "longest", "bits", "centre", "width")
    CASE_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    LONGEST_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    CENTRE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    case_id: str
    number: int
    longest: int
    bits: int
    centre: float
    width: float
    def __init__(self, case_id: _Optional[str] = ..., number: _Optional[int] = ..., longest: _Optional[int] = ..., bits: _Optional[int] = ..., centre: _Optional[float] = ..., width: _Optional[float] = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("png",)
    PNG_FIELD_NUMBER: _ClassVar[int]
    png: bytes
    def __init__(self, png: _Optional[bytes] = ...) -> None: ...

class CheckRequest(_message.Message):
    __slots__ = ("report", "context_json")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_JSON_FIELD_NUMBER: _ClassVar[int]
    report: str
    context_json: bytes
    def __init__(self, report: _Optional[str] = ..., context_json: _Optional[bytes] = ...) -> None: ...

class Checked(_message.Message):
    __slots__ = ("remarks", "not_run", "record_json")
    REMARKS_FIELD_NUMBER: _ClassVar[int]
    NOT_RUN_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    remarks: _containers.RepeatedCompositeFieldContainer[Remark]
    not_run: _containers.RepeatedScalarFieldContainer[str]
    record_json: bytes
    def __init__(self, remarks: _Optional[_Iterable[_Union[Remark, _Mapping]]] = ..., not_run: _Optional[_Iterable[str]] = ..., record_json: _Optional[bytes] = ...) -> None: ...

class Remark(_message.Message):
    __slots__ = ("code", "severity", "explanation", "start", "end")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    code: str
    severity: str
    explanation: str
    start: int
    end: int
    def __init__(self, code: _Optional[str] = ..., severity: _Optional[str] = ..., explanation: _Optional[str] = ..., start: _Optional[int] = ..., end: _Optional[int] = ...) -> None: ...

class GetCapabilitiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Capabilities(_message.Message):
    __slots__ = ("software", "snapshot", "cases", "language_model", "presets", "images_of_cases", "record_json")
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    CASES_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_MODEL_FIELD_NUMBER: _ClassVar[int]
    PRESETS_FIELD_NUMBER: _ClassVar[int]
    IMAGES_OF_CASES_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    software: str
    snapshot: str
    cases: int
    language_model: str
    presets: _containers.RepeatedScalarFieldContainer[str]
    images_of_cases: bool
    record_json: bytes
    def __init__(self, software: _Optional[str] = ..., snapshot: _Optional[str] = ..., cases: _Optional[int] = ..., language_model: _Optional[str] = ..., presets: _Optional[_Iterable[str]] = ..., images_of_cases: _Optional[bool] = ..., record_json: _Optional[bytes] = ...) -> None: ...
