"""What is in deploy/: manifests fit their schemas and each other, their SQL runs, their commands exist."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from factory import make_task, make_worker

from pgq.cli.options import duration
from pgq.cli.worker import worker
from pgq.scale import Span

DEPLOY = Path(__file__).parents[2] / "deploy"
FILES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
MANIFESTS = [document for file in FILES for document in yaml.safe_load_all(file.read_text("utf-8"))]
CUSTOM = "keda.sh/v1alpha1"
LAST_STEPS = 12.0  # seconds after its grace in which a worker writes what it has and closes

Shape = dict[str, Any]
TEXT: Shape = {"type": str}
# From KEDA's documentation of this kind (version 2), written by hand: a subset of its schema.
RULES: Shape = {
    "stabilizationWindowSeconds": int,
    "selectPolicy": str,
    "policies": [{"type": str, "value": int, "periodSeconds": int}],
}
KEDA: dict[str, Shape] = {
    "ScaledObject": {
        "scaleTargetRef": {"apiVersion": str, "kind": str, "name": str, "envSourceContainerName": str},
        "pollingInterval": int,
        "cooldownPeriod": int,
        "idleReplicaCount": int,
        "minReplicaCount": int,
        "maxReplicaCount": int,
        "advanced": {
            "restoreToOriginalReplicaCount": bool,
            "horizontalPodAutoscalerConfig": {"name": str, "behavior": {"scaleUp": RULES, "scaleDown": RULES}},
        },
        "triggers": [
            {"type": str, "name": str, "metadata": {str: str}, "authenticationRef": {"name": str, "kind": str}}
        ],
    },
}
POSTGRESQL = {"query", "targetQueryValue", "activationTargetQueryValue", "connectionFromEnv"}


def misfit(value: Any, shape: Any, place: str = "spec") -> list[str]:
    """Return what of a value has no place in a shape, or not this one."""
    if isinstance(shape, type):
        return [] if type(value) is shape else [f"{place} is {value!r}"]
    if isinstance(shape, list):
        return [wrong for at, one in enumerate(value) for wrong in misfit(one, shape[0], f"{place}[{at}]")]
    if str in shape:
        return [f"{place}.{name} is {one!r}" for name, one in value.items() if type(one) is not str]
    unknown = [f"{place}.{name} is unknown" for name in value.keys() - shape.keys()]
    known = value.keys() & shape.keys()
    return unknown + [wrong for name in known for wrong in misfit(value[name], shape[name], f"{place}.{name}")]


def of_kind(kind: str) -> Any:
    (found,) = [one for one in MANIFESTS if one["kind"] == kind]
    return found


@pytest.mark.parametrize("release", ["1.29", "1.34"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: f"{one['kind']} {one['metadata']['name']}")
def test_a_manifest_fits_its_schema(manifest: Any, release: str) -> None:
    if manifest["apiVersion"] == CUSTOM:
        assert manifest.keys() == {"apiVersion", "kind", "metadata", "spec"}
        assert misfit(manifest["spec"], KEDA[manifest["kind"]]) == []
        return
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("the schemas of Kubernetes come with: pip install kubernetes-validate")
    import kubernetes_validate  # noqa: PLC0415 - 110 MB of schemas, which only CI installs

    kubernetes_validate.validate(manifest, release, strict=True)
    broken = {**manifest, "metadata": {**manifest["metadata"], "labls": {}}}
    with pytest.raises(kubernetes_validate.ValidationError, match="labls"):
        kubernetes_validate.validate(broken, release, strict=True)


def test_the_check_of_shapes_finds_what_is_wrong() -> None:
    shape = KEDA["ScaledObject"]
    assert misfit({"minReplicas": 1}, shape) == ["spec.minReplicas is unknown"]
    assert misfit({"triggers": [{"type": "postgresql", "metadata": {"a": 1}}]}, shape) == [
        "spec.triggers[0].metadata.a is 1"
    ]
    assert misfit({"pollingInterval": "5"}, shape) == ["spec.pollingInterval is '5'"]


def test_the_trigger_has_what_keda_wants_of_postgresql() -> None:
    (trigger,) = of_kind("ScaledObject")["spec"]["triggers"]
    assert trigger["type"] == "postgresql"
    assert trigger["metadata"].keys() <= POSTGRESQL
    assert {"query", "targetQueryValue", "connectionFromEnv"} <= trigger["metadata"].keys()
    container = of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert trigger["metadata"]["connectionFromEnv"] in [variable["name"] for variable in container["env"]]


@pytest.mark.parametrize("kind", ["ScaledObject", "HorizontalPodAutoscaler"])
def test_an_autoscaler_scales_the_deployment_by_the_slots_of_its_pods(kind: str) -> None:
    spec = of_kind(kind)["spec"]
    assert spec["scaleTargetRef"]["name"] == of_kind("Deployment")["metadata"]["name"]
    if kind == "ScaledObject":
        per_pod = spec["triggers"][0]["metadata"]["targetQueryValue"]
    else:
        per_pod = spec["metrics"][0]["external"]["target"]["averageValue"]
    assert int(per_pod) == 20  # the default of --concurrency


def test_the_queries_run_and_say_what_is_needed_but_for_what_a_limit_holds_back(conn: psycopg.Connection) -> None:
    make_worker(conn, queues=["email"], concurrency=20)
    for _ in range(30):
        make_task(conn, queue="email", due=-120)
        make_task(conn, queue="pdf", due=3_600, throttled_by="customer:acme", bounces=1)
    query = of_kind("ScaledObject")["spec"]["triggers"][0]["metadata"]["query"]
    ((needed,),) = conn.execute(query).fetchall()
    assert isinstance(needed, int)
    assert 1 <= needed <= 30
    collector = yaml.safe_load(config_map("pgq-sql-exporter")["pgq.collector.yml"])
    (metric,) = collector["metrics"]
    cursor = conn.execute(metric["query"])
    assert [column.name for column in cursor.description] == [*metric["key_labels"], *metric["values"]]
    assert dict(cursor.fetchall()) == {"email": needed, "pdf": 0}


def config_map(name: str) -> Any:
    return next(one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap" and one["metadata"]["name"] == name)


def test_prometheus_hands_on_the_metric_that_the_autoscaler_asks_for() -> None:
    collected = yaml.safe_load(config_map("pgq-sql-exporter")["pgq.collector.yml"])["metrics"][0]["metric_name"]
    (rule,) = yaml.safe_load(config_map("pgq-prometheus-adapter")["config.yaml"])["externalRules"]
    asked = of_kind("HorizontalPodAutoscaler")["spec"]["metrics"][0]["external"]["metric"]["name"]
    assert asked == collected
    assert asked in rule["seriesQuery"]
    assert asked in rule["metricsQuery"]


def commands() -> dict[str, list[str]]:
    container = of_kind("Deployment")["spec"]["template"]["spec"]["containers"][0]
    return {"kubernetes": container["command"], "systemd": unit()["Service"]["ExecStart"].split()}


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "systemd" / "pgq-worker.service")
    return parser


@pytest.mark.parametrize("where", ["kubernetes", "systemd"])
def test_the_command_is_one_that_exists(where: str) -> None:
    words = commands()[where]
    assert words[0].endswith("pgq")
    assert words[1] == "worker"
    options = {option for parameter in worker.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options
    if "--processes" in words:
        Span.parse(words[words.index("--processes") + 1])


@pytest.mark.parametrize("where", ["kubernetes", "systemd"])
def test_it_has_longer_to_stop_than_its_grace(where: str) -> None:
    words = commands()[where]
    grace = duration(words[words.index("--grace") + 1])
    if where == "kubernetes":
        stop = of_kind("Deployment")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    else:
        stop = int(unit()["Service"]["TimeoutStopSec"])
    assert stop >= grace + LAST_STEPS


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    text = (DEPLOY / "systemd" / "pgq-worker.service").read_text("utf-8")
    copy = tmp_path / "pgq-worker.service"  # with a program that is there
    copy.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text))
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(copy.read_text() + "\n[Service]\nNoSuchSetting=1\n")
    done = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert "NoSuchSetting" in done.stderr
