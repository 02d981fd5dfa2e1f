"""An hour of everything that callers do to a service, well and badly: its memory and its files stay where they were."""

import json
import os
import subprocess
import time
from itertools import count
from pathlib import Path
from socket import create_connection

import httpx
import numpy as np
import pytest

from evaluation.served import Service, drawn

SOAK = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-service.json"
HOUR_S = 3600.0
PAUSE_S = 0.3
VIEW = {"request": '{"view": "PA"}'}


def one_of_each(client: httpx.Client, images: list[bytes], n: int) -> str:
    """The n-th thing that a caller does; gives its name and what came back."""
    part = [("images", ("image.png", images[n % len(images)]))]
    match n % 8:
        case 0 | 1:
            return f"draft {client.post('/v1/drafts', files=part, data=VIEW).status_code}"
        case 2:
            with client.stream(
                "POST", "/v1/drafts", files=part, data=VIEW, headers={"Accept": "text/event-stream"}
            ) as s:
                if n % 16 == 2:
                    next(s.iter_lines(), None)
                    return "events, and gone after the first"
                s.read()
                return f"events {s.status_code}"
        case 3:
            return f"search {client.post('/v1/similar-cases', json={'text': 'left effusion'}).status_code}"
        case 4:
            job = client.post("/v1/jobs", files=part, data=VIEW)
            return f"job {job.status_code}"
        case 5:
            return f"no image {client.post('/v1/drafts', files=[('images', ('x', os.urandom(2000)))]).status_code}"
        case 6:
            return f"no such case {client.get(f'/v1/cases/{n}').status_code}"
        case _:
            host, port = client.base_url.host, client.base_url.port or 80
            with create_connection((host, port)) as connection:
                connection.sendall(b"POST /v1/drafts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf")
            return "half a request"


@pytest.mark.soak
def test_an_hour_of_callers_leaves_no_memory_and_no_file_behind(tmp_path):
    index, unseen = drawn(tmp_path)
    images = [path.read_bytes() for path in unseen]
    (tmp_path / "tmp").mkdir()
    service = Service(index, tmp_path, environment={"TMPDIR": str(tmp_path / "tmp")})
    came: dict[str, int] = {}
    memory: list[float] = []
    began = sampled = time.monotonic()
    try:
        with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as client:
            for n in count():
                said = one_of_each(client, images, n)
                came[said] = came.get(said, 0) + 1
                now = time.monotonic()
                if now - sampled > HOUR_S / 60:
                    memory.append(round(service.memory_mib, 1))
                    sampled = now
                if now - began > HOUR_S:
                    break
                time.sleep(PAUSE_S)
            until = time.monotonic() + 60
            while [*(tmp_path / "tmp").glob("prelim-uploads-*/*"), *(tmp_path / "jobs.sqlite.images").iterdir()]:
                assert time.monotonic() < until, "files of requests that have ended"
                time.sleep(1)
    finally:
        service.kill()
    minutes = np.arange(len(memory)) * HOUR_S / 3600
    # The first quarter fills caches and arenas.
    later = slice(len(memory) // 4, None)
    growth = float(np.polyfit(minutes[later], memory[later], 1)[0]) * 60
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=SOAK.parent, capture_output=True, text=True, check=False
    )
    found = {"commit": commit.stdout.strip(), "seconds": HOUR_S, "came_back": came, "memory_mib": memory}
    SOAK.write_text(json.dumps({**found, "growth_mib_an_hour": round(growth, 1)}, indent=1) + "\n")
    assert {said.split()[-1] for said in came} <= {"200", "202", "404", "first", "request", "422", "415"}, came
    assert growth < 0.05 * memory[0], memory
