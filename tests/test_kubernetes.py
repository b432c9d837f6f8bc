"""The manifests of deploy/kubernetes: against the API's schemas and each other, and their probes at the real TorchServe."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import requests
import yaml

from deploy.lock import direct
from handler.serve import Server
from model.inference import runtime
from survey.arguments import make_parser
from tests import kuberay
from tests.conftest import ROOT, start_server
from tests.waiting import PATIENCE_S, eventually

FOLDER = ROOT / "deploy" / "kubernetes"
KUBERNETES = "1.37"
COMPONENTS = ("external-storage", "issuer", "queue-time", "shared-store")
VALUES = "prometheus-adapter.yaml"  # of a chart; no resource
# Lists that a patch merges by this key, as Kubernetes does; others it replaces.
MERGE_KEYS = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"  # of a Ray cluster's pods, whose name is KubeRay's own

Resource = dict[str, Any]


def read(path: Path) -> list[Resource]:
    return list(yaml.safe_load_all(path.read_text()))


def kustomization(folder: str) -> Resource:
    (found,) = read(FOLDER / folder / "kustomization.yaml")
    assert found.keys() <= {"apiVersion", "kind", "namespace", "resources", "images", "patches"}, "this test knows no more"
    return found


def merged(base: Resource, patch: Resource) -> Resource:
    """A strategic merge, as far as the components need it."""
    result = dict(base)
    for key, value in patch.items():
        if isinstance(value, dict):
            result[key] = merged(base.get(key, {}), value)
        elif key in MERGE_KEYS and key in base:
            name = MERGE_KEYS[key]
            entries = {entry[name]: entry for entry in base[key]}
            for entry in value:
                if entry.get("$patch") == "delete":
                    del entries[entry[name]]
                else:
                    entries[entry[name]] = merged(entries.get(entry[name], {}), entry)
            result[key] = list(entries.values())
        else:
            result[key] = value
    return result


def patched(resource: Resource, operations: list[Resource]) -> None:
    """By JSON patch (RFC 6902), as far as the components need it: Kubernetes can't merge lists of others' kinds."""
    for operation in operations:
        *way, last = operation["path"].strip("/").split("/")
        parent: Any = resource
        for name in way:
            parent = parent[name]
        if last == "-":
            parent.append(operation["value"])
        else:
            assert operation["op"] == "replace"
            assert last in parent
            parent[last] = operation["value"]


def build(folder: str, *components: str) -> list[Resource]:
    """What `kubectl apply -k` would send."""
    resources = [resource for file in kustomization(folder)["resources"] for resource in read(FOLDER / folder / file)]
    for component in components:
        contents = kustomization(component)
        for patch in contents.get("patches", []):
            (change,) = read(FOLDER / component / patch["path"])
            wanted = patch.get("target") or {"kind": change["kind"], "name": change["metadata"]["name"]}
            (place,) = (
                number
                for number, resource in enumerate(resources)
                if (resource["kind"], resource["metadata"]["name"]) == (wanted["kind"], wanted["name"])
            )
            if isinstance(change, list):
                patched(resources[place], change)
            else:
                change["metadata"].pop("namespace")
                resources[place] = merged(resources[place], change)
        resources += [resource for file in contents.get("resources", []) for resource in read(FOLDER / component / file)]
    return resources


BASE = build("base")
BUILDS = {"base": BASE, "base and components": build("base", *COMPONENTS), "train": build("train"), "ray": build("ray")}
BUILDS["ray and cards"] = build("ray", "ray-gpu")
ALL = [(f"{name}: {each['kind']} {each['metadata']['name']}", each) for name, found in BUILDS.items() for each in found]


def of_kind(resources: list[Resource], *kinds: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] in kinds]


def named(resources: list[Resource], kind: str, name: str) -> Resource:
    (found,) = (resource for resource in of_kind(resources, kind) if resource["metadata"]["name"] == name)
    return found


def templates(resources: list[Resource]) -> list[Resource]:
    """Of all pods that are started."""
    found = [each["spec"]["template"] for each in of_kind(resources, "Deployment", "Job")]
    found += [each["spec"]["jobTemplate"]["spec"]["template"] for each in of_kind(resources, "CronJob")]
    return found + [pod for each in of_kind(resources, "RayJob") for pod in kuberay.pods(each)]


def label(pod: Resource) -> str:
    labels = pod["metadata"]["labels"]
    return str(labels.get(NAME) or labels[COMPONENT])


PODS = [(f"{build}: {label(pod)}", pod["spec"]) for build, all_ in BUILDS.items() for pod in templates(all_)]
EVERY_POD = pytest.mark.parametrize("pod", [pod for _, pod in PODS], ids=[name for name, _ in PODS])


def containers(pod: Resource) -> list[Resource]:
    return [*pod.get("initContainers", []), *pod["containers"]]


@pytest.mark.parametrize("resource", [each for _, each in ALL], ids=[name for name, _ in ALL])
def test_it_is_what_the_api_accepts(resource: Resource) -> None:
    if resource["kind"] != "RayJob":
        kubernetes_validate.validate(resource, KUBERNETES, strict=True)
        return
    assert kuberay.faults(resource) == []
    for pod in kuberay.pods(resource):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": label(pod)}, "template": pod}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


@pytest.mark.parametrize("folder", ["base", "train", "ray", "ray-gpu", *COMPONENTS])
def test_a_kustomization_lists_each_file_beside_it(folder: str) -> None:
    contents = kustomization(folder)
    listed = [*contents.get("resources", []), *(patch["path"] for patch in contents.get("patches", []))]
    there = {path.name for path in (FOLDER / folder).iterdir()} - {"kustomization.yaml", VALUES}
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("folder", ["base", "train", "ray"])
def test_each_image_can_be_named_in_the_kustomization(folder: str) -> None:
    used = {container["image"] for pod in templates(build(folder)) for container in containers(pod["spec"])}
    assert used == {image["name"] for image in kustomization(folder)["images"]}


@EVERY_POD
def test_a_pod_may_do_nothing_but_its_work(pod: Resource) -> None:
    own = pod["securityContext"]
    assert (own["runAsNonRoot"], own["runAsUser"] > 0, own["seccompProfile"]) == (True, True, {"type": "RuntimeDefault"})
    assert pod["automountServiceAccountToken"] is False
    for container in containers(pod):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


@EVERY_POD
def test_a_pod_is_given_no_other_services_addresses_as_settings(pod: Resource) -> None:
    """MLFLOW_PORT, for one, would be taken for the server's own."""
    assert pod["enableServiceLinks"] is False


@EVERY_POD
def test_a_pod_says_what_it_needs_and_how_much_it_may_have(pod: Resource) -> None:
    for container in containers(pod):
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


@EVERY_POD
def test_a_pod_finds_the_volumes_that_it_mounts(pod: Resource) -> None:
    claims = {each["metadata"]["name"] for each in of_kind([*BASE, *BUILDS["train"]], "PersistentVolumeClaim")}
    asked = {volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert asked <= claims
    mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}


@EVERY_POD
def test_no_secret_stands_in_a_manifest(pod: Resource) -> None:
    for container in containers(pod):
        for variable in container.get("env", []):
            is_secret = re.search(r"(_KEY|_KEY_ID|_LOGIN|_PASSWORD|_STORE_URL|_TOKEN)$", variable["name"])
            assert ("secretKeyRef" in variable.get("valueFrom", {})) == bool(is_secret), variable["name"]
            assert "@" not in variable.get("value", "")


@EVERY_POD
def test_a_pods_settings_are_explained(pod: Resource) -> None:
    explained = set(re.findall(r"`([A-Z_]+)`", "".join(page.read_text() for page in (ROOT / "docs").rglob("*.md"))))
    names = {variable["name"] for container in containers(pod) for variable in container.get("env", [])}
    assert {name for name in names if re.match(r"CRACK_|TORCHSERVE_|BACKEND_", name)} <= explained


@pytest.mark.parametrize("resources", [BUILDS["base"], BUILDS["base and components"]], ids=["base", "base and components"])
def test_a_server_has_all_three_probes_and_only_the_first_needs_a_prediction(resources: list[Resource]) -> None:
    for deployment in of_kind(resources, "Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60  # a busy server is not a dead one
        assert "predictions" not in str((container["readinessProbe"], liveness))


def test_the_sidecars_keys_are_mounted_as_it_takes_them() -> None:
    """What belongs to root can be read by the group that `fsGroup` gives it, and by nobody else."""
    pod = named(BASE, "Deployment", "sidecar")["spec"]["template"]["spec"]
    (secret,) = (volume["secret"] for volume in pod["volumes"] if "secret" in volume)
    assert secret["defaultMode"] == 0o440
    assert pod["securityContext"]["fsGroup"] == pod["securityContext"]["runAsGroup"]


def test_there_is_one_sidecar_whose_index_is_on_a_disk_that_only_its_machine_has() -> None:
    sidecar = named(BASE, "Deployment", "sidecar")["spec"]
    assert (sidecar["replicas"], sidecar["strategy"]) == (1, {"type": "Recreate"})
    assert named(BASE, "PersistentVolumeClaim", "feedback")["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert "sidecar" not in {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(BASE, "HorizontalPodAutoscaler")}


def test_several_sidecars_share_a_database_and_volumes_that_all_of_them_mount() -> None:
    resources = build("base", "shared-store")
    assert named(resources, "Deployment", "sidecar")["spec"]["replicas"] > 1
    for claim in ("feedback", "inspections"):
        assert named(resources, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    policy = named(resources, "NetworkPolicy", "shared-store")["spec"]
    asking = set()
    for pod in templates(resources):
        if "CRACK_STORE_URL" in {variable["name"] for variable in pod["spec"]["containers"][0].get("env", [])}:
            assert selects(policy["podSelector"], pod["metadata"]["labels"])
            asking.add(pod["metadata"]["labels"][NAME])
    assert asking == {"sidecar", "retrain"}


@pytest.mark.parametrize("name", ["feedback", "inspections", "retrain", "mlflow", "model-store", "photographs"])
def test_a_volume_of_one_machine_is_mounted_on_one_machine(name: str) -> None:
    users = [
        pod
        for pod in templates(BASE)
        if any(each.get("persistentVolumeClaim", {}).get("claimName") == name for each in pod["spec"]["volumes"])
    ]
    if named(BASE, "PersistentVolumeClaim", name)["spec"]["accessModes"] == ["ReadWriteMany"]:
        return
    first = users[0]["metadata"]["labels"]
    for other in users[1:]:
        (together,) = other["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert together == {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": first}}


def selects(selector: Resource, labels: Resource) -> bool:
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    assert all(each["operator"] == "In" for each in selector.get("matchExpressions", []))
    return wanted and all(labels.get(each["key"]) in each["values"] for each in selector.get("matchExpressions", []))


def allowed(resources: list[Resource], direction: str, pod: Resource, peer: Resource, port: int) -> bool:
    """Whether a policy lets a pod talk to (`egress`), or be talked to by (`ingress`), another pod of the namespace."""
    way = {"ingress": "from", "egress": "to"}[direction]
    return any(
        any("namespaceSelector" not in each and selects(each["podSelector"], peer) for each in rule.get(way, []))
        and port in {each["port"] for each in rule.get("ports", [{"port": port}])}
        for policy in of_kind(resources, "NetworkPolicy")
        if selects(policy["spec"]["podSelector"], pod)
        for rule in policy["spec"].get(direction, [])
    )


def test_nobody_reaches_anybody_but_as_the_design_has_it() -> None:
    nothing = named(BASE, "NetworkPolicy", "nothing-by-default")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    pods = {pod["metadata"]["labels"][NAME]: pod for pod in templates(BASE)}
    ports = {
        name: [port["containerPort"] for port in pod["spec"]["containers"][0].get("ports", [])] for name, pod in pods.items()
    }
    reached = {
        (one, other, port)
        for one in pods
        for other in pods
        for port in ports[other]
        if allowed(BASE, "egress", pods[one]["metadata"]["labels"], pods[other]["metadata"]["labels"], port)
        and allowed(BASE, "ingress", pods[other]["metadata"]["labels"], pods[one]["metadata"]["labels"], port)
    }
    assert reached == {
        ("page", "sidecar", 8000),
        ("sidecar", "torchserve", 8080),
        ("sidecar", "torchserve", 8081),
        ("retrain", "torchserve", 8080),
        ("retrain", "torchserve", 8081),
        ("retrain", "mlflow", 5000),
    }


def test_who_asks_the_issuer_may_reach_it_and_is_told_which_it_is() -> None:
    resources = build("base", "issuer")
    policy = named(resources, "NetworkPolicy", "issuer")["spec"]
    assert policy["egress"] == [{"ports": [{"port": 443}]}]
    pods = {pod["metadata"]["labels"][NAME]: pod for pod in templates(resources)}
    asking = {name for name, pod in pods.items() if selects(policy["podSelector"], pod["metadata"]["labels"])}
    told = {
        name
        for name, pod in pods.items()
        if {"configMapRef": {"name": "issuer"}} in pod["spec"]["containers"][0].get("envFrom", [])
    }
    assert asking == told == {"page", "sidecar"}
    left = {variable["name"] for variable in pods["page"]["spec"]["containers"][0]["env"]}
    assert not left & {"CRACK_PAGE_LOGIN", "CRACK_API_KEY"}  # one way to log in, and nobody acts as the page


@pytest.mark.parametrize("resources", BUILDS.values(), ids=BUILDS)
def test_each_policys_pods_exist(resources: list[Resource]) -> None:
    labels = [pod["metadata"]["labels"] for pod in templates(resources)]
    for policy in of_kind(resources, "NetworkPolicy"):
        selectors = [policy["spec"]["podSelector"]]
        for rule in [*policy["spec"].get("ingress", []), *policy["spec"].get("egress", [])]:
            selectors += [each["podSelector"] for each in [*rule.get("from", []), *rule.get("to", [])] if "podSelector" in each]
        for selector in selectors:
            assert any(selects(selector, each) for each in labels), (policy["metadata"]["name"], selector)


@pytest.mark.parametrize("name", ["base", "train"])
def test_a_service_leads_to_ports_that_its_pods_have(name: str) -> None:
    pods = templates(BUILDS[name])
    for service in of_kind(BUILDS[name], "Service"):
        (pod,) = (pod for pod in pods if selects({"matchLabels": service["spec"]["selector"]}, pod["metadata"]["labels"]))
        has = {(port["name"], port["containerPort"]) for port in pod["spec"]["containers"][0]["ports"]}
        assert {(port["name"], port["port"]) for port in service["spec"]["ports"]} <= has


def test_the_retrain_job_asks_for_every_replica() -> None:
    """A name of one address would leave all replicas but one as they were."""
    (retrain,) = of_kind(BASE, "CronJob")
    (container,) = retrain["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable.get("value") for variable in container["env"]}
    assert environment["TORCHSERVE_MANAGEMENT_URL"] == "http://torchserve-replicas:8081"
    assert named(BASE, "Service", "torchserve-replicas")["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 1), (2, 2), (3, 0), (4, 0), (5, 0)])
def test_only_a_retraining_that_failed_is_a_failed_job(code: int, expected: int, tmp_path: Path) -> None:
    (container,) = templates([named(BASE, "CronJob", "retrain")])[0]["spec"]["containers"]
    (tmp_path / "crack").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "crack").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(container["command"], env=environment, check=False).returncode == expected


def test_the_autoscaler_asks_for_what_the_adapter_computes_from_what_torchserve_publishes() -> None:
    (values,) = read(FOLDER / "queue-time" / VALUES)
    (rule,) = values["rules"]["custom"]
    metrics = named(BUILDS["base and components"], "HorizontalPodAutoscaler", "torchserve")["spec"]["metrics"]
    assert [each["pods"]["metric"]["name"] for each in metrics if each["type"] == "Pods"] == [rule["name"]["as"]]
    published = yaml.safe_load((ROOT / "handler" / "metrics.yaml").read_text())["ts_metrics"]["counter"]
    asked = set(re.findall(r"ts_\w+", rule["metricsQuery"] + rule["seriesQuery"]))
    assert asked <= {metric["name"] for metric in published}


def ray_job(build: str = "ray") -> Resource:
    return dict(named(BUILDS[build], "RayJob", "survey")["spec"])


def test_a_wrong_field_of_a_ray_job_is_noticed() -> None:
    spec = {**ray_job(), "backoffLimits": 1, "submissionMode": "Http", "ttlSecondsAfterFinished": "600"}
    found = kuberay.faults({"apiVersion": "ray.io/v1", "kind": "RayJob", "spec": spec})
    assert [fault.split(":")[0] for fault in found] == [
        ".spec.submissionMode",
        ".spec.ttlSecondsAfterFinished",
        ".spec.backoffLimits",
    ]


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (1, 0), (2, 1), (130, 1)])
def test_only_a_survey_that_could_not_go_on_is_tried_again(code: int, expected: int, tmp_path: Path) -> None:
    (tmp_path / "crack").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "crack").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for build in ("ray", "ray and cards"):
        entrypoint = ["sh", "-c", ray_job(build)["entrypoint"]]
        assert subprocess.run(entrypoint, env=environment, check=False).returncode == expected
    assert ray_job()["backoffLimit"] > 0


@pytest.mark.parametrize("build", ["ray", "ray and cards"])
def test_the_command_of_a_survey_is_one_that_it_understands(build: str) -> None:
    crack, survey, *arguments = shlex.split(ray_job(build)["entrypoint"].partition("||")[0])
    chosen = make_parser("http://127.0.0.1:8000").parse_args(arguments)
    assert (crack, survey, chosen.engine) == ("crack", "survey", "ray")
    assert chosen.backend in ("auto", *map(str, runtime.BACKENDS))


def test_workers_may_vanish_and_the_head_may_not() -> None:
    head, *workers = kuberay.pods({"spec": ray_job()})
    (term,) = head["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    refused = {each["key"]: each["values"] for each in term["matchExpressions"] if each["operator"] == "NotIn"}
    assert "tolerations" not in head["spec"]
    for worker in workers:
        preferred = worker["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        wanted = [expression for each in preferred for expression in each["preference"]["matchExpressions"]]
        assert {each["key"]: each["values"] for each in wanted} == refused
        assert all(each["effect"] == "NoSchedule" for each in worker["spec"]["tolerations"])


def test_a_survey_ends_with_its_cluster_and_grows_no_further_than_told() -> None:
    spec = ray_job("ray and cards")
    assert spec["shutdownAfterJobFinishes"]
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_a_surveys_image_has_the_version_of_ray_that_its_manifest_names() -> None:
    (ray,) = (each for each in direct("ray") if each.name == "ray")
    assert str(ray.specifier) == f"=={ray_job()['rayClusterSpec']['rayVersion']}"


def test_cards_are_for_nodes_that_have_them_and_their_own_image() -> None:
    (*_, group) = ray_job("ray and cards")["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert [image["name"] for image in kustomization("ray-gpu")["images"]] == [container["image"]]


def test_the_autoscaler_alone_gets_a_token_for_the_api() -> None:
    head, *_ = kuberay.pods({"spec": ray_job()})
    (token,) = (each["name"] for each in head["spec"]["volumes"] if "projected" in each)
    mounting = [
        each["name"] for each in head["spec"]["containers"] if token in {mount["name"] for mount in each["volumeMounts"]}
    ]
    assert mounting == ["autoscaler"]


@pytest.fixture(scope="module")
def lone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A TorchServe whose workers may be taken away."""
    running = start_server(tmp_path_factory.mktemp("lone"), {"default_workers_per_model": "1"})
    try:
        running.wait_until_ready(PATIENCE_S)
        yield running
    finally:
        running.stop()


def probe(name: str, server: Server) -> int:
    """The status with which TorchServe's probe ends, asked of this server."""
    (container,) = named(BASE, "Deployment", "torchserve")["spec"]["template"]["spec"]["containers"]
    _, option, code = container[name]["exec"]["command"]
    code = code.replace("http://127.0.0.1:8080", server.inference_url).replace("http://127.0.0.1:8081", server.management_url)
    return subprocess.run([sys.executable, option, code], stderr=subprocess.DEVNULL, check=False).returncode


def test_torchserves_probes_tell_a_ready_worker_from_none(lone_server: Server) -> None:
    ready = (0, 0)
    eventually(lambda: (probe("startupProbe", lone_server), probe("readinessProbe", lone_server)) == ready)
    scale = f"{lone_server.management_url}/models/crack"
    requests.put(scale, params={"min_worker": 0, "synchronous": "true"}, timeout=PATIENCE_S).raise_for_status()
    assert 0 not in (probe("startupProbe", lone_server), probe("readinessProbe", lone_server))
    assert (
        requests.get(f"{lone_server.inference_url}/ping", timeout=PATIENCE_S).status_code == 200
    )  # so it isn't restarted for that
    requests.put(scale, params={"min_worker": 1, "synchronous": "true"}, timeout=PATIENCE_S).raise_for_status()
    eventually(lambda: (probe("startupProbe", lone_server), probe("readinessProbe", lone_server)) == ready)


def test_the_arithmetic_of_its_page_is_right() -> None:
    blocks = re.findall(r"```(?:python)?\n(.*?)```", (ROOT / "docs" / "operations" / "scaling.md").read_text(), re.S)
    assert len(blocks) == 4
    for program, printed in zip(blocks[::2], blocks[1::2], strict=True):
        finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert finished.stdout == printed
