"""`prelim vllm-serve` without a server: what would be started, and what is refused by name before anything is."""

import asyncio
import json
import shlex
import socket
import sys

import pytest

from generation.decoding.presets import PRESETS
from generation.vllm import launch as launching
from generation.vllm.launch import Launch
from generation.vllm.places import MOST_GROUPS, RETRY_AFTER_S, GroupPlaces
from service.__main__ import main
from tests.conftest import skip_or_fail


def options_of(launch: Launch) -> dict[str, str]:
    words = launch.arguments()
    return {word: value for word, value in zip(words, [*words[1:], ""], strict=True) if word.startswith("--")}


@pytest.mark.parametrize("preset", PRESETS)
def test_places_are_a_multiple_of_the_presets_branches(preset):
    said = options_of(Launch(language_model="m", preset=preset, groups=5))
    assert int(said["--max-num-seqs"]) == 5 * len(PRESETS[preset].branches)


def test_the_command_holds_what_groups_and_private_data_demand():
    launch = Launch(language_model="/models/one", name="one", images=3, longest=4096)
    said = options_of(launch)
    assert said["--model"] == "/models/one"
    assert said["--served-model-name"] == "one"
    assert said["--host"] == "127.0.0.1"
    assert said["--scheduling-policy"] == "priority"
    assert json.loads(said["--limit-mm-per-prompt"]) == {"image": 3, "video": 0}
    assert {"--scheduler-cls", "--logits-processors", "--enable-prefix-caching", "--middleware"} <= set(said)
    assert (said["--generation-config"], said["--max-model-len"]) == ("vllm", "4096")
    assert int(said["--shutdown-timeout"]) > 0
    environment = launch.environment()
    assert environment["VLLM_NO_USAGE_STATS"] == environment["HF_HUB_OFFLINE"] == "1"
    assert not {"--api-key", "--trust-remote-code"} & set(said)


def test_what_is_printed_is_what_would_be_started(capsys, monkeypatch):
    monkeypatch.setenv("PRELIM_GENERATOR_KEY", "open-sesame")
    arguments = ["vllm-serve", "a folder/model", "--build", "cpu", "--groups", "2", "--print"]
    assert main([*arguments, "--vllm=--max-num-batched-tokens 256"]) == 0
    printed = capsys.readouterr().out
    assert "sesame" not in printed
    words = shlex.split(printed.replace("\\\n", ""))
    launch = Launch(language_model="a folder/model", build="cpu", groups=2, more=("--max-num-batched-tokens", "256"))
    start = words.index(sys.executable)
    assert words[start:] == launch.command()
    assert dict(word.split("=", 1) for word in words[: start - 1]) == launch.environment()
    assert words[start - 1] == "VLLM_API_KEY=$PRELIM_GENERATOR_KEY"


def test_without_vllm_the_package_to_install_is_named(capsys, monkeypatch):
    monkeypatch.setattr("service.vllm_serve.installed_build", lambda: None)
    assert main(["vllm-serve", "model"]) == 78
    assert "MISSING_DEPENDENCY: vLLM is not installed (pip install 'prelim[vllm]'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told_before_a_model_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr("service.vllm_serve.installed_build", lambda: "cpu")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["vllm-serve", "model", "--port", str(port)]) == 65
        assert f"127.0.0.1:{port} cannot be listened on" in capsys.readouterr().err


def test_a_server_that_ends_before_it_is_ready_is_no_success(capsys, monkeypatch):
    monkeypatch.setattr("service.vllm_serve.installed_build", lambda: "cpu")
    for status, exit_status, said in ((78, 78, ""), (1, 75, "ended with status 1 before it was ready")):
        monkeypatch.setattr(Launch, "command", lambda _, s=status: [sys.executable, "-c", f"raise SystemExit({s})"])
        assert main(["vllm-serve", "model", "--port", "27123"]) == exit_status
        assert said in capsys.readouterr().err


def test_a_model_that_is_not_there_ends_the_server_by_name(tmp_path, capfd):
    need_vllm()
    assert main(["vllm-serve", str(tmp_path / "nothing"), "--port", "27124"]) == 78
    assert "MISSING_WEIGHTS" in capfd.readouterr().err


@pytest.mark.slow  # vLLM is imported to ask it
def test_a_model_that_vllm_has_no_code_for_ends_the_server_by_name(tmp_path, capfd):
    need_vllm()
    (tmp_path / "config.json").write_text('{"architectures": ["NobodysForCausalLM"], "model_type": "qwen2"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert main(["vllm-serve", str(tmp_path), "--port", "27125"]) == 78
    said = capfd.readouterr().err
    assert "UNSUPPORTED_MODEL: vLLM 0.32" in said
    assert "NobodysForCausalLM" in said


def need_vllm() -> None:
    if launching.installed_build() is None:
        skip_or_fail("vllm", "no build of vLLM is installed (make vllm)")


# The bound on what waits


def answers_of(calls):
    """What a server with one place says to these (group, seconds) calls, each begun 10 ms after the one before."""

    async def app(scope, receive, send):
        await asyncio.sleep(scope["seconds"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def one(places, group, seconds, path="/v1/chat/completions"):
        said = []

        async def send(message):
            said.append(message)

        headers = [(b"x-prelim-group", group.encode())] if group else []
        scope = {"type": "http", "path": path, "headers": headers, "seconds": seconds}
        await places(scope, None, send)
        return said[0]["status"], dict(said[0]["headers"])

    async def all_of_them():
        places = GroupPlaces(app)
        tasks = []
        for call in calls:
            tasks.append(asyncio.create_task(one(places, *call)))
            await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks), places

    return asyncio.run(all_of_them())


def test_a_full_server_turns_whole_groups_away_and_never_a_late_member(monkeypatch):
    monkeypatch.setenv(MOST_GROUPS, "1")
    answers, places = answers_of([("a", 0.1), ("b", 0.1), ("a", 0.2), ("", 0.1), ("b", 0.0, "/metrics"), ("a", 0.0)])
    assert [status for status, _ in answers] == [200, 503, 200, 503, 200, 200]
    assert answers[1][1][b"retry-after"] == str(RETRY_AFTER_S).encode()
    assert not places._inside, "somebody who has left keeps a place"


def test_ordinary_requests_each_take_a_place_and_give_it_back(monkeypatch):
    monkeypatch.setenv(MOST_GROUPS, "2")
    answers, _ = answers_of([("", 0.05), ("", 0.05), ("", 0.0)])
    assert [status for status, _ in answers] == [200, 200, 503]
    answers, _ = answers_of([("", 0.0), ("", 0.0), ("", 0.0)])
    assert [status for status, _ in answers] == [200, 200, 200]
