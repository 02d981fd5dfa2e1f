"""Where a process puts what is sent to it: one folder, locked for as long as the process lives.

A killed process leaves its folder behind, with images of patients in it. The lock goes with the process however that
ends, so that whatever starts next sees which folders are nobody's any more, and removes them.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

UPLOAD: Final = "prelim-upload-"
"""How the name of a folder with the files of one request begins; nothing else is ever tidied away."""
_PROCESS: Final = "prelim-uploads-"


def upload_folder(spool: Path | None = None) -> Path:
    """A new folder for the files of one request, below `spool` or that of this process; raises OSError."""
    if spool is None and not _own().is_dir():  # something cleans up among temporary files
        _own.cache_clear()
    return Path(tempfile.mkdtemp(prefix=UPLOAD, dir=spool or _own()))


def remove_left_behind() -> None:
    """Delete the folders of processes that have ended; those that live hold theirs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PROCESS}*"):
        with suppress(OSError):  # somebody else's, or locked
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)


@cache
def _own() -> Path:
    """The folder of this process, made when it is first needed."""
    # It gets its name only when it is locked, or a process that starts just now would take it for left behind.
    made = Path(tempfile.mkdtemp(prefix="prelim-new-"))
    fcntl.flock(os.open(made, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)  # left open until the process ends
    folder = made.rename(made.with_name(_PROCESS + made.name.removeprefix("prelim-new-")))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
