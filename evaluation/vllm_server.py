"""A vLLM server for measurements and tests: started as `prelim vllm-serve` starts one, watched, and killed.

On 127.0.0.1 with a random key, small in every respect. What is measured on it is not known here.
"""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
from pydantic import SecretStr

from evaluation.processes import kill_session, memory_mib
from generation.vllm.launch import KEY
from retrieval.errors import GeneratorUnavailable

NAME: Final = "tiny"
"""What the server calls its language model."""
START_S: Final = 420.0
"""On two busy cores a server needs two minutes."""


class VllmServer:
    """One server in a session of its own, so that all its processes can be counted and killed."""

    def __init__(
        self, model: Path, log: Path, *, groups: int = 8, longest: int = 2048, settings: Mapping[str, str] | None = None
    ) -> None:
        """Start it; `ready` waits. `longest` is in tokens, prompt and draft; `settings` go into its environment."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        key = secrets.token_hex(16)
        self.key = SecretStr(key)
        self._log = log
        command = [
            sys.executable, "-m", "service", "vllm-serve", str(model), "--name", NAME, "--preset", "grounded",
            "--port", str(port), "--groups", str(groups), "--longest", str(longest),
            # Small parts of prompts, so that members are not at the same place in theirs; and few blocks of KV cache,
            # which are all in use soon: memory that grows later is a leak.
            "--vllm=--max-num-batched-tokens 256 --num-gpu-blocks-override 1024 --disable-uvicorn-access-log",
        ]  # fmt: skip
        environment = os.environ | {KEY: key, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        environment |= dict(settings or {})
        with log.open("wb") as written:
            self.process = subprocess.Popen(
                command, env=environment, stdout=written, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.http = self.client()

    def ready(self) -> "VllmServer":
        """Wait until it answers; raises GeneratorUnavailable with the end of its log when it does not."""
        until = time.monotonic() + START_S
        while time.monotonic() < until and self.process.poll() is None:
            try:
                if self.http.get("/health", timeout=2).status_code == httpx.codes.OK:
                    return self
            except httpx.HTTPError:
                pass
            time.sleep(0.2)
        self.kill()
        raise GeneratorUnavailable("the server did not start", fix=self.printed[-3000:])

    def figure(self, name: str) -> float:
        """The sum of one of its Prometheus figures."""
        found = re.findall(rf"^{re.escape(name)}(?:\{{.*\}})? (\S+)$", self.http.get("/metrics").text, re.MULTILINE)
        return sum(map(float, found))

    @property
    def printed(self) -> str:
        """All that it has said up to now."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def at_work(self) -> float:
        """Requests that its engine runs or keeps waiting."""
        return self.figure("vllm:num_requests_running") + self.figure("vllm:num_requests_waiting")

    def idle_within(self, seconds: float) -> float | None:
        """Seconds until its engine had nothing left to do; None when that took longer."""
        begun = time.monotonic()
        while (passed := time.monotonic() - begun) < seconds:
            if self.at_work == 0:
                return passed
            time.sleep(0.005)
        return None

    @property
    def memory_mib(self) -> float:
        """Memory of all its processes that is in no file; shared pages count for each."""
        return memory_mib(self.process.pid)

    def client(self) -> httpx.Client:
        """A client with a connection of its own, to be closed."""
        # Without certificates, which plain HTTP does not need: reading them would hold up all threads of the many
        # callers in this process, 18 ms each time.
        headers = {"Authorization": f"Bearer {self.key.get_secret_value()}"}
        return httpx.Client(base_url=self.url, timeout=60, trust_env=False, verify=False, headers=headers)

    def complete(self, body: Mapping[str, Any]) -> httpx.Response:
        """One request to it as any client would make it."""
        with self.client() as client:
            return client.post("/v1/chat/completions", json={"model": NAME, **body})

    def kill(self) -> None:
        """End all its processes at once, as a machine that loses power would; nothing of it is left afterwards."""
        kill_session(self.process)
        self.http.close()
