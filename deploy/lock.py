"""Write requirements.txt, the lock: each package that pyproject.toml's extras lead to, at the version that is installed here.

`make lock` runs it in a new environment, so that what the index has newest comes in; run by itself it records the present one.
Left out is what torch brings for graphics cards, as an index without CUDA has none of it, and pip, which does the installing.
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
LEFT_OUT = re.compile(r"(nvidia|cuda)-.+|triton|pip")
HEAD = (
    "# Written by `make lock`: all packages that pyproject.toml leads to, for Python 3.11 from PyPI.\n"
    "# make setup installs it; an image installs a part of it, `pip install --constraint requirements.txt .[EXTRA]`.\n"
)


def direct(*extras: str) -> list[Requirement]:
    """What pyproject.toml asks for, with these extras and those that they name; without any, with all extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    by_extra = project["optional-dependencies"]
    waiting, seen, found = list(extras or by_extra), set[str](), list(map(Requirement, project["dependencies"]))
    while waiting:
        extra = waiting.pop()
        if extra not in seen:
            seen.add(extra)
            wanted = list(map(Requirement, by_extra[extra]))
            waiting += [name for each in wanted if each.name == project["name"] for name in each.extras]
            found += [each for each in wanted if each.name != project["name"]]
    return found


def lock() -> dict[str, str]:
    """Versions of all packages that are needed on this machine, by name, in order, without what follows a "+".

    Raises metadata.PackageNotFoundError where one is not installed.
    """
    waiting = [(requirement, "") for requirement in direct()]
    seen: set[tuple[str, str]] = set()
    found: dict[str, str] = {}
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        is_needed = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
        if not is_needed or LEFT_OUT.fullmatch(name):
            continue
        found[name] = Version(metadata.version(name)).public
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in seen:
                seen.add((name, wanted))
                waiting += [(Requirement(text), wanted) for text in metadata.requires(name) or []]
    return dict(sorted(found.items()))


def text(versions: dict[str, str]) -> str:
    """The lines of the lock; a package that pyproject.toml wants on some machines alone is one on those alone."""
    markers = {canonicalize_name(each.name): f"; {each.marker}" for each in direct() if each.marker}
    return HEAD + "".join(f"{name}=={version}{markers.get(name, '')}\n" for name, version in versions.items())


def main() -> int:
    try:
        LOCK.write_text(text(lock()))
    except metadata.PackageNotFoundError as error:
        print(f"error: {error.name} is needed and not installed. Run make setup first.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
