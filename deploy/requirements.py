"""What the project needs, one requirement a line, so that an image installs it in a layer of its own.

    python deploy/requirements.py pyproject.toml service qdrant > requirements.txt

Extras are written out, those that name others of this project included. Only the standard library is used: it runs
before anything is installed.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path


def requirements(pyproject: Path, extras: Sequence[str]) -> list[str]:
    """The dependencies and those of the extras, sorted; raises KeyError for an extra that is none."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    own = re.compile(rf"{re.escape(project['name'])}\[(.+)\]")

    def of(extra: str) -> Iterator[str]:
        for requirement in project["optional-dependencies"][extra]:
            if named := own.fullmatch(requirement):
                for other in named[1].split(","):
                    yield from of(other.strip())
            else:
                yield requirement

    return sorted({*project["dependencies"], *(requirement for extra in extras for requirement in of(extra))})


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(Path(sys.argv[1]), sys.argv[2:])) + "\n")
