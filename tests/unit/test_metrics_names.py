"""What is written about metrics is true: the table, the dashboard and the alerts name metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pgq.metrics.names import DATABASE, PROCESS

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/pgq.json"
RULES = ROOT / "deploy/prometheus/pgq.rules.yml"
ALL = {metric.name: metric for metric in (*DATABASE, *PROCESS)}


def expressions() -> dict[str, str]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    found = {f"{p['title']} {t['refId']}": t["expr"] for p in panels for t in p["targets"]}
    rules = yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]
    return found | {rule["alert"]: rule["expr"] for rule in rules}


def test_the_table_lists_every_metric_and_no_other() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", (ROOT / "docs/metrics.md").read_text("utf-8"), re.MULTILINE
    )
    assert rows == [
        (metric.name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.help)
        for metric in (*DATABASE, *PROCESS)
    ]


@pytest.mark.parametrize("place", expressions())
def test_whoever_reads_metrics_names_those_that_there_are_with_labels_that_they_have(place: str) -> None:
    expression = expressions()[place]
    named = re.findall(r"\b(pgq_\w+)(?:\{(.*?)\})?", expression)
    assert named
    for name, selector in named:
        metric = ALL[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert set(re.findall(r"(\w+)\s*=", selector)) <= set(metric.labels)
        assert metric.kind != "counter" or f"{name}[" in expression or f"{name}{{{selector}}}[" in expression


def test_the_dashboard_is_one_that_grafana_can_import() -> None:
    board = json.loads(DASHBOARD.read_text("utf-8"))
    assert {"title", "uid", "schemaVersion", "panels", "templating", "time"} <= board.keys()
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == "${datasource}"
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$(?!__)\{?(\w+)", DASHBOARD.read_text("utf-8")))
    assert used <= variables | {"__all"}


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    for rule in yaml.safe_load(RULES.read_text("utf-8"))["groups"][0]["rules"]:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 rules found" in done.stdout
