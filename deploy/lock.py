"""Write constraints.txt, the lock: each package that those in requirements.txt lead to, at the version that is installed here.

`make lock` runs it in a new environment, so that what the index has newest comes in; run by itself it records the present one.
Left out is what torch brings for graphics cards, as an index without CUDA has none of it, and pip, which does the installing.
"""

import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = re.compile(r"(nvidia|cuda)-.+|triton|pip")
HEAD = "# Written by `make lock`: what requirements.txt leads to. make setup and the Dockerfiles install by it.\n"


def direct() -> list[Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    return [Requirement(line) for line in lines if line]


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
    """The lines of the lock; a package that requirements.txt wants on some machines alone is one on those alone."""
    markers = {canonicalize_name(each.name): f"; {each.marker}" for each in direct() if each.marker}
    return HEAD + "".join(f"{name}=={version}{markers.get(name, '')}\n" for name, version in versions.items())


def main() -> int:
    try:
        (ROOT / "constraints.txt").write_text(text(lock()))
    except metadata.PackageNotFoundError as error:
        print(f"error: {error.name} is needed and not installed. Run make setup first.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
