"""The survey's former name: `python -m sidecar.batch` runs `python -m survey`."""

import runpy
import sys

if __name__ == "__main__":
    print("python -m sidecar.batch is python -m survey now; this runs it.", file=sys.stderr)
    runpy.run_module("survey", run_name="__main__", alter_sys=True)
