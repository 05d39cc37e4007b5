"""Alerts and dashboards by the real promtool, and each metric in them is one that the coordinator gives."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cloud.metrics.collector import Sources, expose
from cloud.store.database import open_database, sqlite_url
from shared.clock import VirtualClock
from simulations.bootstrap.debian import find
from tests.manifests.kube import CHART, ROOT, render

pytestmark = pytest.mark.system

RULES = CHART / "monitoring" / "rules.yaml"
DASHBOARD = CHART / "monitoring" / "dashboard.json"

ALERTS = """
rule_files: [{rules}]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {{series: 'hinterland_broker_connected{{pod="a"}}', values: '0x30'}}
      - {{series: 'hinterland_broker_connected{{pod="b"}}', values: '1x10 0x20'}}
      - {{series: 'hinterland_devices{{fleet="wards", health="silent"}}', values: '3x60'}}
      - {{series: 'hinterland_devices{{fleet="wards", health="ok"}}', values: '7x60'}}
      - {{series: 'hinterland_devices{{fleet="gates", health="silent"}}', values: '1x60'}}
      - {{series: 'hinterland_devices{{fleet="gates", health="ok"}}', values: '9x60'}}
      - {{series: 'hinterland_records_dropped_total', values: '5x30 9x30'}}
    alert_rule_test:
      - {{eval_time: 9m, alertname: HinterlandBrokerAway, exp_alerts: []}}
      - eval_time: 20m
        alertname: HinterlandBrokerAway
        exp_alerts: [{{exp_labels: {{severity: critical}}, exp_annotations: {{
          summary: No coordinator has a session with the broker,
          description: "Telemetry, updates and chunks wait. Look at the broker's pod and at its certificate."}}}}]
      - eval_time: 45m
        alertname: HinterlandDevicesSilent
        exp_alerts: [{{exp_labels: {{severity: warning, fleet: wards}}, exp_annotations: {{
          summary: A fifth of fleet wards has not been heard of,
          description: "`hinterland devices` lists them."}}}}]
      - {{eval_time: 20m, alertname: HinterlandRecordsLost, exp_alerts: []}}
      - {{eval_time: 45m, alertname: HinterlandDeviceCloned, exp_alerts: []}}
"""


def promtool(*arguments):
    tool = find("promtool", home=ROOT / ".venv")
    assert tool is not None, "run `make cluster`"
    answer = subprocess.run([tool, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture
def known(tmp_path):
    """Every name that one scrape gives, families without values included."""
    database = open_database(sqlite_url(tmp_path / "db.sqlite"))
    sources = Sources(
        database=database, clock=VirtualClock(), health=lambda: {"a": "ok"}, certificates=lambda: {"b": 1.0}
    )
    families = text_string_to_metric_families(expose(sources).decode())
    return {name for each in families for name in (each.name, f"{each.name}_total", f"{each.name}_info")}


def names(expression):
    return set(re.findall(r"\bhinterland_[a-z_]+", expression))


def test_promtool_reads_the_rules():
    assert "9 rules found" in promtool("check", "rules", RULES)


def test_alerts_come_when_they_should_and_not_before(tmp_path):
    path = tmp_path / "alerts.yaml"
    path.write_text(ALERTS.format(rules=RULES))
    promtool("test", "rules", path)


def test_every_metric_of_an_alert_is_one_that_is_given(known):
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    assert {name for rule in rules for name in names(rule["expr"])} <= known
    for rule in rules:
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_every_panel_shows_what_is_given(known):
    dashboard = json.loads(DASHBOARD.read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert shown
    assert {name for each in shown for name in names(each)} <= known
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_the_chart_carries_both_and_asks_each_replica():
    manifests = {
        each["kind"]: each for each in render(CHART, CHART / "ci" / "ha.yaml") if "coreos" in each["apiVersion"]
    }
    assert manifests["PrometheusRule"]["spec"] == yaml.safe_load(RULES.read_text())
    (endpoint,) = manifests["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["path"], endpoint["scheme"], endpoint["port"]) == ("/v1/metrics", "https", "api")
    (board,) = [
        each for each in render(CHART, CHART / "ci" / "ha.yaml") if each["metadata"]["name"].endswith("-dashboard")
    ]
    assert json.loads(board["data"]["hinterland.json"]) == json.loads(DASHBOARD.read_text())
