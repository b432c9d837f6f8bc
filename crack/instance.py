"""The ports and folders of one system. CRACK_INSTANCE moves all of them at once, so that several systems can share a machine.

Each process reads its settings through `of_instance`, so the defaults are written here and nowhere else. `python -m
crack.instance` only checks the number: `make` does so before it installs anything, with no packages. Left to others: what
the variables mean (docs/configuration.md), and all settings but ports, folders and addresses.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

LOOPBACK = ("127.0.0.1", "::1", "localhost")
VARIABLE = "CRACK_INSTANCE"
N_INSTANCES = 5  # with more, the sidecar of one would have the port of another's page
STEP = 100
PORTS = {
    "CRACK_SIDECAR_PORT": 8000,
    "CRACK_RETRAIN_METRICS_PORT": 8083,
    "CRACK_PAGE_PORT": 8500,
    "CRACK_MLFLOW_PORT": 5000,
    "CRACK_PROMETHEUS_PORT": 9090,
    "CRACK_NODE_EXPORTER_PORT": 9100,
}
TORCHSERVE = {  # config.properties sets the same for the first instance
    "TS_INFERENCE_ADDRESS": "http://127.0.0.1:8080",
    "TS_MANAGEMENT_ADDRESS": "http://127.0.0.1:8081",
    "TS_METRICS_ADDRESS": "http://127.0.0.1:8082",
    "TS_GRPC_INFERENCE_PORT": "7070",
    "TS_GRPC_MANAGEMENT_PORT": "7071",
}
FOLDERS = {
    "CRACK_MODEL_STORE": "model_store",
    "CRACK_FEEDBACK_DIR": "retrain_data",
    "CRACK_INSPECTIONS_DIR": "inspections",
    "CRACK_RETRAIN_WORKSPACE": "retrain_workspace",
    "CRACK_DVC_REMOTE": ".dvc_storage",
    "CRACK_MLRUNS": "mlruns",
    "CRACK_PROMETHEUS_DIR": ".prometheus",
    "CRACK_LOGS": "logs",
}

_QUOTED = re.compile(r"""^(["'])(.*)\1$""")
_OURS = ("CRACK_", "TS_", "TORCHSERVE_", "MLFLOW_", "BACKEND_URL")


def of_instance(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment, with a value for every port, folder and address that it doesn't set.

    An empty variable of ours counts as unset. White space around a value is removed, such as Windows' end of a line, and so are
    quotes, which docker's --env-file keeps. A leading ~/ becomes the home folder, because no shell replaces it in a file of
    variables.

    Raises ValueError if CRACK_INSTANCE is not the number of an instance.
    """
    ours = {name: _QUOTED.sub(r"\2", value.strip()) for name, value in environment.items() if name.startswith(_OURS)}
    homed = {name: os.path.expanduser(value) if value.startswith("~/") else value for name, value in ours.items() if value}
    environment = {name: value for name, value in environment.items() if name not in ours} | homed
    number = instance_number(environment)
    offset = STEP * (number - 1)
    folder = Path() if number == 1 else Path("instances", str(number))
    given = {name: str(port + offset) for name, port in PORTS.items()}
    given |= {name: str(folder / sub_folder) for name, sub_folder in FOLDERS.items()}
    torchserve = {name: re.sub(r"\d+$", lambda port: str(int(port[0]) + offset), at) for name, at in TORCHSERVE.items()}
    torchserve["TS_MODEL_STORE"] = environment.get("CRACK_MODEL_STORE", given["CRACK_MODEL_STORE"])
    given |= environment
    neighbours = {
        "TORCHSERVE_URL": given.get("TS_INFERENCE_ADDRESS", torchserve["TS_INFERENCE_ADDRESS"]),
        "TORCHSERVE_MANAGEMENT_URL": given.get("TS_MANAGEMENT_ADDRESS", torchserve["TS_MANAGEMENT_ADDRESS"]),
        "BACKEND_URL": reachable_at(given.get("CRACK_SIDECAR_HOST", ""), given["CRACK_SIDECAR_PORT"]),
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{given['CRACK_MLFLOW_PORT']}",
    }
    return neighbours | (torchserve if number > 1 else {}) | given


def reachable_at(host: str, port: object) -> str:
    """The URL by which processes of this machine reach a server that listens at `host`, even if that means all addresses."""
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # asyncio's :: takes no IPv4
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def instance_number(environment: Mapping[str, str]) -> int:
    """1 unless CRACK_INSTANCE says otherwise. Raises ValueError."""
    text = environment.get(VARIABLE, "1")
    if text not in map(str, range(1, N_INSTANCES + 1)):
        raise ValueError(f"{VARIABLE}={text!r}: expected a whole number from 1 to {N_INSTANCES}.")
    return int(text)


if __name__ == "__main__":
    try:
        of_instance(os.environ)
    except ValueError as error:
        sys.exit(f"error: {error}")
