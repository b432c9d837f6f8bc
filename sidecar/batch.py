"""The survey's former name."""

import sys

from crack.console import by_former_name

if __name__ == "__main__":
    sys.exit(by_former_name("survey"))
