"""The images and compose files, as far as they can be held to their word without a container engine.

Every command line is put to the program's own parser, every name is looked up where it should be defined.
"""

import argparse
import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.requirements import requirements
from evaluation.__main__ import _parser as evaluate_parser
from generation.generators import REMOTE
from indexing.__main__ import _parser as index_parser
from service.__main__ import _parser as prelim_parser

ROOT: Final = Path(__file__).parents[1]
DEPLOY: Final = ROOT / "deploy"
COMPOSE: Final = ("cpu", "gpu")
IMAGES: Final = ("cpu", "cuda")
PARSERS: Final = {"prelim": prelim_parser, "prelim-index": index_parser, "prelim-evaluate": evaluate_parser}
README: Final = (DEPLOY / "README.md").read_text()


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / f"compose.{name}.yaml").read_text())
    return loaded


def settings(name: str) -> dict[str, str]:
    lines = (DEPLOY / f"settings/{name}.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled_in(text: str, name: str) -> str:
    """What compose makes of variables, with something in place of each secret."""
    values = {key: value or "secret" for key, value in settings(name).items()}
    return re.sub(r"\$\{(\w+)(?::[?-][^}]*)?\}", lambda found: values[found[1]], text)


def image(name: str) -> list[list[str]]:
    """The instructions of a Dockerfile, each as its name and its rest."""
    text = re.sub(r"\\\n\s*", " ", (DEPLOY / f"Dockerfile.{name}").read_text())
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [line.split(maxsplit=1) for line in lines]


def of(name: str, instruction: str) -> list[str]:
    return [rest for said, rest in image(name) if said == instruction]


def ours(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The services of a compose file that run one of our images."""
    return [(n, s) for n, s in compose(name)["services"].items() if s["image"].startswith("prelim:")]


def parsed(name: str, service: dict[str, Any]) -> argparse.Namespace:
    (program,) = service.get("entrypoint", ["prelim"])
    return PARSERS[program]().parse_args([filled_in(word, name) for word in service["command"]])


# Command lines.


@pytest.mark.parametrize("name", COMPOSE)
def test_every_command_of_a_compose_file_is_one_that_its_program_takes(name: str) -> None:
    for service, said in ours(name):
        assert parsed(name, said).command, service


@pytest.mark.parametrize("name", IMAGES)
def test_the_command_of_an_image_is_one_that_prelim_takes(name: str) -> None:
    (entry,), (command,) = of(name, "ENTRYPOINT"), of(name, "CMD")
    assert json.loads(entry) == ["prelim"]
    words = json.loads(command)
    if "--help" in words:
        with pytest.raises(SystemExit) as ended:
            prelim_parser().parse_args(words)
        assert ended.value.code == 0
    else:
        assert prelim_parser().parse_args(words).host == "127.0.0.1"


def test_a_misspelt_option_would_be_seen(capsys: pytest.CaptureFixture[str]) -> None:
    service = dict(compose("cpu")["services"]["service"])
    with pytest.raises(SystemExit):
        parsed("cpu", service | {"command": [*service["command"], "--spol=/spool"]})
    assert "--spol" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMPOSE)
def test_who_can_be_reached_from_elsewhere_asks_for_keys(name: str) -> None:
    service = compose(name)["services"]["service"]
    options = parsed(name, service)
    assert options.host == options.grpc[0] == "0.0.0.0"
    assert str(options.keys) == "/run/secrets/keys"
    assert service["secrets"] == ["keys"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert {int(port.rsplit(":")[-1]) for port in service["ports"]} == {options.port, options.grpc[1]}
    assert "ports" not in json.dumps([s for n, s in compose(name)["services"].items() if n != "service"])


def test_the_service_asks_the_language_model_that_is_served() -> None:
    services = dict(ours("gpu"))
    served, asking = parsed("gpu", services["language-model"]), parsed("gpu", services["service"])
    assert asking.language_model == served.name
    assert asking.server == [f"http://language-model:{served.port}"]
    assert asking.preset == served.preset
    assert asking.generator in REMOTE
    assert asking.at_once == served.groups
    for name in ("language-model", "service"):
        assert "PRELIM_GENERATOR_KEY" in services[name]["environment"]


@pytest.mark.parametrize("name", COMPOSE)
def test_the_index_that_is_served_is_the_one_that_is_built(name: str) -> None:
    services = dict(ours(name))
    built, serving = parsed(name, services["index"]), parsed(name, services["service"])
    assert built.index == serving.index
    assert built.manifest.parent == serving.images


# Compose files by themselves.


@pytest.mark.parametrize("name", COMPOSE)
def test_whatever_a_compose_file_names_it_defines(name: str) -> None:
    whole = compose(name)
    services = whole["services"]
    for service, said in services.items():
        assert set(said.get("depends_on", {})) <= set(services), service
        assert set(said["networks"]) <= set(whole["networks"]), service
        assert set(said.get("secrets", ())) <= set(whole["secrets"]), service
        for volume in said.get("volumes", ()):
            if isinstance(volume, str):
                assert volume.split(":")[0] in whole["volumes"], service
        for other, on in said.get("depends_on", {}).items():
            if on["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], (service, other)
    used = json.dumps(services)
    assert all(f'"{volume}:' in used for volume in whole["volumes"])


@pytest.mark.parametrize("name", COMPOSE)
def test_every_variable_has_its_line_in_the_example_and_every_line_a_reader(name: str) -> None:
    text = (DEPLOY / f"compose.{name}.yaml").read_text()
    named = set(re.findall(r"\$\{(\w+)", text))
    assert named == set(settings(name))
    # A missing secret stops the start instead of being empty.
    for variable, example in settings(name).items():
        if not example:
            assert f"${{{variable}:?" in text, variable


@pytest.mark.parametrize("name", COMPOSE)
def test_our_containers_have_no_rights_that_they_do_not_need(name: str) -> None:
    for service, said in ours(name):
        assert said["read_only"] is True, service
        assert said["cap_drop"] == ["ALL"], service
        assert said["security_opt"] == ["no-new-privileges:true"], service
        assert said["init"] is True, service
        assert not {"privileged", "user", "network_mode", "pid"} & said.keys(), service
    assert compose(name)["networks"]["inside"] == {"internal": True}
    for service, said in compose(name)["services"].items():
        assert service == "service" or said["networks"] == ["inside"], service


# Images.


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_runs_as_nobody_in_particular_and_says_whether_it_is_well(name: str) -> None:
    assert of(name, "USER") == ["10001:10001"]
    last = [said for said, _ in image(name)]
    assert last.index("USER") > max(n for n, said in enumerate(last) if said == "RUN")
    (health,) = of(name, "HEALTHCHECK")
    command = json.loads(health[health.index("CMD") + 3 :])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health", "exec")
    port = parsed("gpu", dict(ours("gpu"))["language-model"]).port if name == "cuda" else 8470
    assert f"127.0.0.1:{port}/health" in command[2]
    assert str(port) in of(name, "EXPOSE")[0].split()


@pytest.mark.parametrize("name", IMAGES)
def test_base_images_are_pinned_by_a_tag(name: str) -> None:
    bases = [base.split()[0] for base in of(name, "FROM")]
    bases += [said["image"] for c in COMPOSE for said in compose(c)["services"].values()]
    for base in bases:
        assert re.fullmatch(r"[\w./-]+:[\w.-]+", base), base
        assert not base.endswith(":latest")


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_copies_is_there_and_is_let_through(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[[line.startswith("#") for line in ignored].index(False)] == "*"
    for rest in of(name, "COPY"):
        if not rest.startswith("--from"):
            for path in rest.split()[:-1]:
                assert (ROOT / path).exists(), path
                assert path == "." or path in let_through, path
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "pyproject.toml"}
    assert needed | {project["project"]["readme"], *project["project"]["license-files"]} <= let_through
    assert all((ROOT / path).exists() for path in let_through)


@pytest.mark.parametrize("name", IMAGES)
def test_what_an_image_installs_is_what_the_project_says(name: str) -> None:
    (installing,) = [run for run in of(name, "RUN") if "requirements.py" in run]
    words = shlex.split(installing)
    extras = words[words.index("pyproject.toml") + 1 : words.index(">")]
    listed = requirements(ROOT / "pyproject.toml", extras)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) <= set(listed)
    assert not [line for line in listed if line.startswith("prelim")]
    for extra in extras:
        own = [line for line in project["optional-dependencies"][extra] if not line.startswith("prelim[")]
        assert own
        assert set(own) <= set(listed)
    assert ("vllm" in extras) == (name == "cuda")
    if name == "cuda":
        assert set(project["optional-dependencies"]["models"]) <= set(listed)
    with pytest.raises(KeyError):
        requirements(ROOT / "pyproject.toml", ["no such extra"])


def test_no_file_names_a_package_registry_or_holds_a_secret() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"deploy/settings/*.env", "deploy/settings/keys.json"} <= set(ignored)
    files = [
        *DEPLOY.glob("Dockerfile.*"),
        *DEPLOY.glob("compose.*"),
        *DEPLOY.glob("settings/*.example"),
        ROOT / ".dockerignore",
    ]
    assert len(files) == 7
    for file in files:
        text = file.read_text()
        assert not re.search(r"index-url|find-links|trusted-host|pypi\.|/simple\b", text, re.I), file
    for name in COMPOSE:
        assert not [k for k, v in settings(name).items() if re.search("PASSWORD|SALT|KEY", k) and v]


# The README.


def test_the_sizing_table_follows_from_its_formula() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in README.splitlines()
        if re.match(r"\| (Qwen|MedGemma|LLaVA)", line)
    ]
    assert len(rows) == 5
    for model, *cells in rows:
        billions, layers, heads, size, weights, token, draft, eight = map(float, cells)
        a_token = 2 * layers * heads * size * 2
        a_draft = 3 * 4096 * a_token / 1e9
        computed = (2 * billions, a_token / 1024, a_draft, 2 * billions + 8 * a_draft)
        assert (weights, token, draft, eight) == pytest.approx(computed, abs=0.051), model
    service = parsed("gpu", dict(ours("gpu"))["language-model"])
    assert (service.groups, service.longest) == (8, 4096)


def test_the_readme_names_every_file_and_every_port_and_says_what_was_not_run() -> None:
    assert "**What was not run.**" in README
    for name in (*(f"Dockerfile.{n}" for n in IMAGES), *(f"compose.{n}.yaml" for n in COMPOSE), "requirements.py"):
        assert f"`{name}`" in README
    for port in (8470, 8471, 8000, 6333, 5432):
        assert f"| {port} |" in README
    for line in re.findall(r"^docker compose .*$", README, re.M):
        for path in re.findall(r"deploy/\S+\.(?:yaml|env)", line):
            assert (ROOT / path).exists() or (ROOT / f"{path}.example").exists(), path
