"""Every importer on a miniature of its format: what is kept, what is left out, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import InvalidVocabulary, LicenceNotAcknowledged
from retrieval.vocabularies.layer import OpenLayer
from tests.vocabularies_files import (
    AT,
    IMPORTERS,
    MAKERS,
    SECRET,
    acknowledged,
    atom,
    imported,
    main_file,
    relation,
    umls,
)

TOKENS = sorted(MAKERS)
FIRST = {"umls": "C0000001", "radlex": "RID90001", "snomedct": "9000001", "hp": "HP:9000001", "oifm": "OIFM_ZZZ_000001"}
SECOND = {token: code[:-1] + "2" for token, code in FIRST.items()}
VOCABULARY = {"umls": "UMLS", "radlex": "RADLEX", "snomedct": "SNOMEDCT", "hp": "OBO:hp", "oifm": "OIFM"}
RELEASE = {"umls": "2099AZ", "radlex": "9.9", "snomedct": "20990131", "hp": "zz/releases/2099-01-31", "oifm": ""}
SYNONYMS = {
    "umls": (SECRET, "thorax, dim"), "radlex": (SECRET,), "snomedct": ("Thorax, dim", SECRET), "hp": (SECRET,),
    "oifm": (SECRET,),
}  # fmt: skip


@pytest.fixture(params=TOKENS)
def token(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def source(token: str, tmp_path: Path) -> Path:
    return MAKERS[token](tmp_path / "source")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "layer.sqlite"


@pytest.fixture
def layer(token: str, source: Path, out: Path) -> OpenLayer:
    return imported(token, source, out)


def test_a_layer_says_what_it_is_and_who_acknowledged_the_licence(token: str, layer: OpenLayer) -> None:
    said = layer.layer
    assert (said.vocabulary, said.release) == (VOCABULARY[token], RELEASE[token])
    assert said.licence.token == said.acknowledged.token == token
    assert said.acknowledged.by == "a tester"
    assert said.acknowledged.model_dump(mode="json")["at"] == AT
    assert said.terms == len(layer) == len(list(layer))
    assert said.phrases == sum(1 + len(term.synonyms) for term in layer)


def test_names_and_synonyms_are_kept_and_the_preferred_name_is_the_one_the_source_prefers(
    token: str, layer: OpenLayer
) -> None:
    term = layer[FIRST[token]]
    assert term.name == "dim thorax"
    assert term.synonyms == SYNONYMS[token]
    assert layer[SECOND[token]].name == "thorax matter"


def test_inactive_suppressed_foreign_and_imported_rows_are_left_out(token: str, layer: OpenLayer) -> None:
    assert [term.code for term in layer] == [FIRST[token], SECOND[token]]
    phrases = {phrase for term in layer for phrase in (term.name, *term.synonyms)}
    assert not phrases & {"withdrawn word", "thorax sombre", "trüber Thorax", "dimm thorax", "thorax", "forgotten"}


@pytest.mark.parametrize("token", [t for t in TOKENS if t != "oifm"], indirect=True)
def test_a_cycle_in_the_hierarchy_is_tolerated(token: str, layer: OpenLayer) -> None:
    assert layer[FIRST[token]].broader == (SECOND[token],)
    assert layer.ancestors(FIRST[token]) == (SECOND[token],)
    assert layer.ancestors(SECOND[token]) == (FIRST[token],)


@pytest.mark.parametrize(
    ("token", "edge", "without"),
    [
        ("umls", relation("C0000002", "PAR", "C0000001"), relation("C0000002", "CHD", "C0000001")),
        ("radlex", '<rdfs:subClassOf rdf:resource="&rid;RID90001"/>', ""),
        ("snomedct", "9000002\t9000001\t0\t116680003", "9000002\t9000001\t0\t246075003"),
        ("hp", "is_a: HP:9000001", "relationship: part_of HP:9000001"),
    ],
    indirect=["token"],
)
def test_broader_points_up_and_other_relations_do_not(
    token: str, source: Path, out: Path, edge: str, without: str
) -> None:
    for file in source.rglob("*") if source.is_dir() else [source]:
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(edge.encode(), without.encode()))
    layer = imported(token, source, out)
    assert layer[FIRST[token]].broader == (SECOND[token],)
    assert layer[SECOND[token]].broader == ()


@pytest.mark.parametrize("token", ["radlex", "snomedct"], indirect=True)
def test_the_site_of_a_finding_is_kept(token: str, layer: OpenLayer) -> None:
    assert layer[FIRST[token]].sites == (SECOND[token],)


@pytest.mark.parametrize(
    ("token", "xrefs"),
    [
        ("umls", (("SNOMEDCT", "9000001"),)),
        ("radlex", (("UMLS", "C0000001"),)),
        ("hp", (("HPO", "HP:9000009"), ("SNOMEDCT", "9000001"), ("UMLS", "C0000001"))),
        ("oifm", (("RADLEX", "RID90001"),)),
    ],
    indirect=["token"],
)
def test_cross_references_are_kept_in_one_spelling(
    token: str, layer: OpenLayer, xrefs: tuple[tuple[str, str], ...]
) -> None:
    assert layer[FIRST[token]].xrefs == xrefs
    for scheme, code in xrefs:
        assert layer.carrying(scheme, code) == (FIRST[token],)


def test_a_umls_concept_keeps_all_its_semantic_types(tmp_path: Path) -> None:
    assert imported("umls", umls(tmp_path / "META"), tmp_path / "out")["C0000001"].types == ("T033", "T047")


def test_a_finding_model_keeps_tags_and_the_values_of_its_attributes(tmp_path: Path) -> None:
    term = imported("oifm", MAKERS["oifm"](tmp_path / "repository"), tmp_path / "out")["OIFM_ZZZ_000001"]
    assert term.types == ("chest",)
    assert term.attributes == (("presence", "absent"), ("presence", "present"))


@pytest.mark.parametrize("named", [None, "mit", "UMLS"])
def test_nothing_is_read_without_the_licence_acknowledged(
    token: str, source: Path, out: Path, named: str | None
) -> None:
    with pytest.raises(LicenceNotAcknowledged, match=rf"--accept-licence {token}") as refused:
        IMPORTERS[token](source, out, acknowledged(named) if named else None)
    assert not out.exists()
    assert "http" in str(refused.value)


def test_an_obo_ontology_says_itself_where_its_licence_is(tmp_path: Path) -> None:
    with pytest.raises(LicenceNotAcknowledged, match=r"https://licence\.example/zz"):
        IMPORTERS["hp"](MAKERS["hp"](tmp_path / "obo"), tmp_path / "out")


def refused(token: str, source: Path, out: Path) -> str:
    with pytest.raises(InvalidVocabulary) as error:
        IMPORTERS[token](source, out, acknowledged(token))
    assert list(out.parent.glob("*layer*")) == [], "an unfinished layer was left behind"
    assert SECRET not in str(error.value)
    assert error.value.__cause__ is None or SECRET not in repr(error.value.__cause__)
    return str(error.value)


@pytest.mark.parametrize("share", [0.35, 0.6, 0.97])
def test_a_file_that_was_cut_off_is_refused(token: str, source: Path, out: Path, share: float) -> None:
    file = main_file(source, token)
    body = file.read_bytes()
    kept = body[: int(len(body) * share)]
    file.write_bytes(kept.rstrip(b"\r\n"))
    assert file.name in refused(token, source, out)


@pytest.mark.parametrize("token", ["umls", "snomedct", "hp"], indirect=True)
def test_a_last_line_without_an_end_is_a_file_cut_off(token: str, source: Path, out: Path) -> None:
    file = main_file(source, token)
    file.write_bytes(file.read_bytes().rstrip(b"\r\n"))
    assert "cut off" in refused(token, source, out)


def test_a_table_cut_off_between_two_rows_is_refused_where_the_release_says_how_many_it_has(tmp_path: Path) -> None:
    meta = umls(tmp_path / "META")
    rows = (meta / "MRCONSO.RRF").read_text().splitlines(keepends=True)
    (meta / "MRFILES.RRF").write_text(f"MRCONSO.RRF|names|CUI|18|{len(rows)}|1|\n")
    imported("umls", meta, tmp_path / "good")
    (meta / "MRCONSO.RRF").write_text("".join(rows[:-1]))
    assert f"has {len(rows) - 1} rows where MRFILES.RRF says {len(rows)}" in refused("umls", meta, tmp_path / "layer")


@pytest.mark.parametrize("body", [b"", b"\n", b"a line\n", b"\x00" * 4000, b"{}", b"<html></html>\n", b"\xff\xfe\n"])
def test_another_file_under_the_right_name_is_refused(token: str, source: Path, out: Path, body: bytes) -> None:
    for file in source.rglob("*") if source.is_dir() else [source]:
        if file.is_file():
            file.write_bytes(body)
    assert refused(token, source, out)


def test_a_compressed_file_is_named_as_one(token: str, source: Path, out: Path) -> None:
    main_file(source, token).write_bytes(b"\x1f\x8b\x08\x00" + bytes(100))
    assert "compressed" in refused(token, source, out)


def test_a_path_that_is_not_there_is_refused(token: str, tmp_path: Path, out: Path) -> None:
    assert refused(token, tmp_path / "nowhere", out)


def test_the_files_of_another_vocabulary_are_refused(tmp_path: Path) -> None:
    path = MAKERS["radlex"](tmp_path / "owl")
    path.write_text(path.read_text().replace("radlex.org/RID", "example.org/X"))
    assert "nothing of RADLEX" in refused("radlex", path, tmp_path / "layer")


@pytest.mark.parametrize(
    "change",
    [lambda body: body.replace(b"\r", b"").replace(b"\n", b"\r\n"), lambda body: b"\xef\xbb\xbf" + body],
    ids=["crlf", "byte order mark"],
)
def test_line_ends_of_windows_and_a_byte_order_mark_change_nothing(
    token: str, source: Path, tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    before = list(imported(token, source, tmp_path / "before"))
    for file in source.rglob("*") if source.is_dir() else [source]:
        if file.is_file():
            file.write_bytes(change(file.read_bytes()))
    assert list(imported(token, source, tmp_path / "after")) == before


def test_the_wrong_number_of_columns_is_named_with_its_line(tmp_path: Path) -> None:
    meta = umls(tmp_path / "META")
    with (meta / "MRCONSO.RRF").open("a") as file:
        file.write(atom("C0000009", SECRET).replace("|0|", "|"))
    assert "MRCONSO.RRF line 8: has 18 columns where 19 belong" in refused("umls", meta, tmp_path / "layer")


def test_two_files_for_one_table_are_refused(tmp_path: Path) -> None:
    folder = MAKERS["snomedct"](tmp_path / "edition")
    (folder / "sct2_Concept_Snapshot_XX_20990131.txt").write_text("")
    assert "holds 2 files" in refused("snomedct", folder, tmp_path / "layer")


def test_without_a_language_reference_set_the_fully_specified_name_loses_its_tag_and_leads(tmp_path: Path) -> None:
    folder = MAKERS["snomedct"](tmp_path / "edition")
    next(folder.rglob("der2_*")).unlink()
    assert imported("snomedct", folder, tmp_path / "out")["9000001"].name == "Thorax, dim"


def test_two_finding_models_with_one_id_are_refused(tmp_path: Path) -> None:
    folder = MAKERS["oifm"](tmp_path / "repository")
    (folder / "defs" / "other.fm.json").write_bytes((folder / "defs" / "dim_thorax.fm.json").read_bytes())
    assert "has the id of dim_thorax.fm.json" in refused("oifm", folder, tmp_path / "layer")


def test_an_external_entity_is_never_opened(tmp_path: Path) -> None:
    (tmp_path / "private.txt").write_text(SECRET)
    path = MAKERS["radlex"](tmp_path / "owl")
    entity = f'<!ENTITY leak SYSTEM "{(tmp_path / "private.txt").as_uri()}">'
    body = path.read_text().replace("<!DOCTYPE rdf:RDF [", "<!DOCTYPE rdf:RDF [" + entity)
    path.write_text(body.replace("dim thorax<", "dim &leak; thorax<").replace(SECRET, "other"))
    try:
        layer = imported("radlex", path, tmp_path / "out")
    except InvalidVocabulary:
        return
    assert not any(SECRET in phrase for term in layer for phrase in (term.name, *term.synonyms))


def test_progress_ends_at_the_bytes_of_all_files(token: str, source: Path, out: Path) -> None:
    told: list[tuple[int, int]] = []
    IMPORTERS[token](source, out, acknowledged(token), on_progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0


def test_the_operators_release_wins_over_the_files(token: str, source: Path, out: Path) -> None:
    assert IMPORTERS[token](source, out, acknowledged(token), release="site 7").release == "site 7"
