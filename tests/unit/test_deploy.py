"""What is under `deploy/` fits this version: settings, commands, metrics, ports, users."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import lamella.app.application
import lamella.dimse_gateway.metrics  # noqa: F401  (registers its metrics)
from lamella.cli.main import build_parser
from lamella.settings import Settings, load_settings
from tests.harness.chart import render_chart

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "lamella"
COMPOSED = ["compose.yaml", "compose.full.yaml"]
IMAGE_DEFAULTS = {"LAMELLA_HTTP": "0.0.0.0:8042", "LAMELLA_DIMSE": "0.0.0.0:11112"}
SETTING = re.compile(r"LAMELLA_[A-Z0-9_]+")
METRIC = re.compile(r"\blamella_[a-z_]+")
ONE_NODE = {
    "nodes": 1,
    "workers": 0,
    "volume": "50Gi",
    "settings": {"LAMELLA_INSECURE": "1", "LAMELLA_CALLING_AETS": "CT1"},
}


def find_tool(name: str) -> str:
    """Return a tool's path; skip the test without it, but fail it where CI must have it."""
    beside = Path(sys.executable).parent
    program = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        assert os.environ.get("CI") != "true", f"make services installs {name}"
        pytest.skip(f"{name} is not installed (make services).")
    return program


def run_tool(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr


def read_services(name: str) -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "docker" / name).read_text())["services"]
    return services


def fill(value: str) -> str:
    """Return a value of a compose file as it is once variables are filled in."""
    return re.sub(r"\$\{[A-Z_0-9]+(?::-([^}]*)|:\?[^}]*)\}", lambda m: m[1] or "filled", value)


def list_containers() -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Yield name, arguments and settings of every container of ours."""
    for name in COMPOSED:
        for service, told in read_services(name).items():
            if told["image"] == "lamella":
                settings = {key: fill(value) for key, value in told["environment"].items()}
                yield f"{name} {service}", told.get("command", ["serve"]), settings
    for changes in ({}, ONE_NODE):
        rendered = render_chart(CHART, "one", changes)
        settings = next(one for one in rendered if one["kind"] == "ConfigMap")["data"]
        for one in rendered:
            if one["kind"] == "Deployment":
                container = one["spec"]["template"]["spec"]["containers"][0]
                yield f"chart {one['metadata']['name']}", container["args"], settings


def test_every_setting_that_is_named_is_one() -> None:
    known = {f"LAMELLA_{field.name.upper()}" for field in fields(Settings)}
    paths = [path for path in DEPLOY.rglob("*") if path.is_file()]
    named = {name: path for path in paths for name in SETTING.findall(path.read_text())}
    assert len(named) > 12
    assert {name: path for name, path in named.items() if name not in known} == {}


@pytest.mark.parametrize("container", list(list_containers()), ids=lambda one: one[0])
def test_containers_would_start(container: tuple[str, list[str], dict[str, str]]) -> None:
    _, arguments, environment = container
    assert all(isinstance(value, str) for value in environment.values())
    load_settings(environ=IMAGE_DEFAULTS | environment).check_exposure()
    assert build_parser().parse_args(arguments).run is not None


def test_metrics_that_are_watched_are_there() -> None:
    expressions = [
        rule["expr"]
        for group in yaml.safe_load((DEPLOY / "monitoring" / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    ]
    dashboard = DEPLOY / "monitoring" / "grafana" / "dashboards" / "lamella.json"
    panels = json.loads(dashboard.read_text())["panels"]
    expressions += [target["expr"] for panel in panels for target in panel["targets"]]
    watched = {name for text in expressions for name in METRIC.findall(text)}
    assert len(watched) >= 6
    counters = {f"{m.name}_total" for m in REGISTRY.collect() if m.type == "counter"}
    plain = {m.name for m in REGISTRY.collect() if m.type == "gauge"}
    buckets = {f"{m.name}_bucket" for m in REGISTRY.collect() if m.type == "histogram"}
    assert watched <= counters | plain | buckets


@pytest.mark.parametrize("name", COMPOSED)
def test_files_that_are_mounted_are_there(name: str) -> None:
    mounted = [
        volume.split(":")[0]
        for service in read_services(name).values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    assert mounted
    assert [path for path in mounted if not (DEPLOY / "docker" / path).exists()] == []


@pytest.mark.parametrize("name", COMPOSED)
def test_variables_that_are_asked_for_are_in_the_example(name: str) -> None:
    text = (DEPLOY / "docker" / name).read_text()
    asked = set(re.findall(r"\$\{([A-Z_0-9]+)", text))
    example = (DEPLOY / "docker" / "example.env").read_text()
    assert asked <= set(re.findall(r"^([A-Z_0-9]+)=", example, re.M))


def test_the_image_is_made_of_what_is_there() -> None:
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    sources = [
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.M)
        for name in line.split()[:-1]
    ]
    assert "lamella/" in sources
    assert [name for name in sources if not (ROOT / name).exists()] == []
    extras = re.search(r'"\.\[([a-z0-9,]+)\]"', text)
    assert extras is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(extras[1].split(",")) <= set(project["optional-dependencies"])
    assert [line for line in IMAGE_DEFAULTS.items() if "=".join(line) not in text] == []


@pytest.mark.parametrize("changes", [{}, ONE_NODE, {"ingress.host": "pacs.example.org"}])
def test_the_chart_makes_objects_that_fit_each_other(changes: dict[str, Any]) -> None:
    rendered = render_chart(CHART, "one", changes)
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered]
    assert len(set(names)) == len(names) >= 5
    assert ("Ingress" in dict(names)) == ("ingress.host" in changes)
    pods = [one["spec"]["template"] for one in rendered if one["kind"] == "Deployment"]
    assert len(pods) == (1 if changes is ONE_NODE else 2)
    labels = [pod["metadata"]["labels"] for pod in pods]
    for one in rendered:
        if one["kind"] in ("Service", "Deployment"):
            selector = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
            assert any(selector.items() <= label.items() for label in labels), one
    image = (DEPLOY / "docker" / "Dockerfile").read_text()
    for pod in pods:
        assert f"USER {pod['spec']['securityContext']['runAsUser']}:" in image
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        container = pod["spec"]["containers"][0]
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        assert ("ConfigMap", container["envFrom"][0]["configMapRef"]["name"]) in names
    assert (("PersistentVolumeClaim", "one-data") in names) == (changes is ONE_NODE)


def test_the_dockerfile_is_without_reproach() -> None:
    run_tool(find_tool("hadolint"), str(DEPLOY / "docker" / "Dockerfile"))


def test_caddy_takes_its_configuration(tmp_path: Path) -> None:
    run_tool(
        find_tool("caddy"),
        *("validate", "--adapter", "caddyfile", "--config"),
        str(DEPLOY / "docker" / "Caddyfile"),
        PACS_HOST="pacs.example.org",
        PACS_USER="reader",
        PACS_PASSWORD_HASH="$2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG",
        PACS_UPSTREAMS="node-1:8042 node-2:8042",
        XDG_DATA_HOME=str(tmp_path),
        XDG_CONFIG_HOME=str(tmp_path),
    )


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program, units = find_tool("systemd-analyze"), []
    for path in sorted((DEPLOY / "systemd").glob("*.*")):
        if path.suffix in (".service", ".timer"):
            unit = tmp_path / path.name.replace("@.", "@1.")
            unit.write_text(path.read_text().replace("/opt/lamella/bin/lamella", sys.executable))
            units.append(str(unit))
    assert len(units) == 4
    run_tool(program, "verify", *units)
    commands = re.findall(
        r"^ExecStart=/opt/lamella/bin/lamella (.*)$",
        "\n".join(path.read_text() for path in (DEPLOY / "systemd").glob("*.service")),
        re.M,
    )
    assert sorted(commands) == ["fsck", "serve", "worker"]
    for command in commands:
        assert build_parser().parse_args(command.split()).run is not None
