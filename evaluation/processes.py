"""Processes that measurements start: all of one session, and the memory that is theirs alone."""

import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path


def memory_mib(leader: int) -> float:
    """Memory of all processes of a session that is in no file; shared pages count for each."""
    return sum(_anonymous_kib(process) for process in session(leader)) / 1024


def kill_session(process: "subprocess.Popen[bytes]") -> None:
    """End all processes of a session at once, as a machine that loses power would; nothing of it is left afterwards."""
    while living := session(process.pid):
        for each in living:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        time.sleep(0.01)
    process.wait()


def session(leader: int) -> list[int]:
    """All living processes of a session."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in parentheses may hold blanks; behind it stand state, parent, group and session.
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _anonymous_kib(process: int) -> int:
    try:
        said = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    return int(found.group(1)) if (found := re.search(r"^RssAnon:\s+(\d+) kB$", said, re.MULTILINE)) else 0
