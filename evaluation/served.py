"""`prelim serve` in processes of its own over drawn studies, as measurements need it: started, watched and killed."""

import os
import re
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Final

from evaluation.drawings import write_studies
from evaluation.processes import kill_session, memory_mib
from indexing.__main__ import main as prelim_index

INDEXED: Final = 200
UNSEEN: Final = 32
_START_S: Final = 300.0


def drawn(folder: Path) -> tuple[Path, list[Path]]:
    """An index of drawn studies, and images of studies that it does not hold."""
    manifest = write_studies(folder / "studies", INDEXED)
    with redirect_stdout(StringIO()):
        prelim_index(["build", str(manifest), "--index", str(folder / "index")])
    write_studies(folder / "unseen", UNSEEN, seed=9100)
    return folder / "index", sorted((folder / "unseen/images").iterdir())


class Service:
    """`prelim serve` in a session of its own."""

    def __init__(self, index: Path, folder: Path, *more: str, environment: dict[str, str] | None = None) -> None:
        """Start it and wait until it answers."""
        self._log = folder / "serve.log"
        jobs = ["--jobs", str(folder / "jobs.sqlite")]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve", "--index", str(index), "--port", "0", *jobs, *more],
                stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **(environment or {})},
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while not (said := re.search(r"serving on (http://\S+)", self._log.read_text())):
            if self.process.poll() is not None or time.monotonic() > until:
                kill_session(self.process)
                raise RuntimeError(f"the service did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)
        self.url = said[1]

    @property
    def memory_mib(self) -> float:
        """Of all its processes."""
        return memory_mib(self.process.pid)

    def kill(self) -> None:
        """End all its processes."""
        kill_session(self.process)
