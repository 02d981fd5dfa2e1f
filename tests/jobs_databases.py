"""Databases for the tests of jobs: SQLite in a file, and a real PostgreSQL server started for the run."""

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.conftest import skip_or_fail


@cache
def postgres_url() -> str:
    """The URL of a server of our own: PRELIM_POSTGRES_URL, or one started here on a socket; skips without either."""
    if given := os.environ.get("PRELIM_POSTGRES_URL"):
        return given
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    tools = found[-1].parent if found else None
    if tools is None and (path := shutil.which("initdb")):
        tools = Path(path).parent
    if tools is None:
        skip_or_fail("postgres", "no PostgreSQL server is installed, and PRELIM_POSTGRES_URL names none")
    assert tools is not None
    # The server refuses to run as root.
    user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="prelim-postgres-", dir="/tmp"))
    folder.chmod(0o777)
    cluster = folder / "cluster"

    def run(*command: str) -> None:
        subprocess.run([*user, *command], check=True, capture_output=True, cwd=folder, env={"PATH": os.environ["PATH"]})

    run(str(tools / "initdb"), "-D", str(cluster), "-U", "prelim", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run(str(tools / "pg_ctl"), "-D", str(cluster), "-w", "-l", str(folder / "log"), "-o", options, "start")

    def stop() -> None:
        run(str(tools / "pg_ctl"), "-D", str(cluster), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(stop)
    return f"postgresql+psycopg://prelim@/postgres?host={folder}"
