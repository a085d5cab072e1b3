"""The files of configs/serve fit the command they start: its options, its port, its routes, the names it answers to."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from v2t import cli
from v2t.serve.settings import ServeConfig

ROOT = Path(__file__).resolve().parents[3]
SERVE = ROOT / "configs" / "serve"
CONTAINERFILE = (ROOT / "configs" / "container" / "Containerfile").read_text()


def entry_points() -> dict[str, list[str]]:
    """Target of the container file, of those that serve -> the command it begins."""
    found = re.findall(r"FROM server AS (\w+)\n.*?ENTRYPOINT (\[.*?\])", CONTAINERFILE, flags=re.DOTALL)
    return {target: json.loads(words) for target, words in found}


def compose() -> dict:
    return yaml.safe_load((SERVE / "compose.yaml").read_text())


def command_lines() -> dict[str, list[str]]:
    build = compose()["services"]["serve"]
    unit = re.search(r"^ExecStart=(.*)$", (SERVE / "v2t-serve.service").read_text(), flags=re.MULTILINE)
    assert unit is not None
    named = {f"container {target}": [*words, "starter"] for target, words in entry_points().items()}
    named["compose"] = [*entry_points()[build["build"]["target"]], *build["command"]]
    named["unit"] = shlex.split(unit[1])
    return named


def settings_of(words: list[str], folder: Path, capsys) -> dict:
    """What `v2t serve` makes of a command line; the folders of a deployment stand in for by `folder`."""
    here = {"vllm": "local", "/models/mine": "starter", "/srv/models/mine": "starter"}
    words = [here.get(word, word) for word in words[words.index("serve") :]]
    words = [re.sub(r"^videos=/.*", f"videos={folder}", word) for word in words]
    assert cli.main([*words, "--dry-run", "--json"]) == 0
    return json.loads(capsys.readouterr().out)["settings"]


@pytest.mark.parametrize("name", command_lines())
def test_command_lines_are_understood(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("V2T_SERVE_KEY", "a-key-of-more-than-16")
    words = command_lines()[name]
    settings = settings_of(words, tmp_path, capsys)
    assert settings["host"] == ("0.0.0.0" if "--host" in words else "127.0.0.1")
    assert ("videos" in settings["roots"]) == ("--root" in words)


def test_the_composed_gateway_answers_to_those_who_ask_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("V2T_SERVE_KEY", "a-key-of-more-than-16")
    settings = settings_of(command_lines()["compose"], tmp_path, capsys)
    nginx = (SERVE / "nginx.conf").read_text()
    scraped = yaml.safe_load((SERVE / "prometheus.yml").read_text())["scrape_configs"][0]
    (target,) = scraped["static_configs"][0]["targets"]
    asked = {*re.findall(r"server_name (\S+);", nginx), target.split(":")[0]}
    assert set(settings["hosts"]) == asked
    assert {target, *re.findall(r"proxy_pass http://(\S+);", nginx)} == {f"serve:{ServeConfig().port}"}
    assert scraped["metrics_path"] == "/metrics"
    health = " ".join(compose()["services"]["serve"]["healthcheck"]["test"])
    assert f"http://127.0.0.1:{ServeConfig().port}/live" in health
    size = re.search(r"client_max_body_size (\d+)m;", nginx)
    assert size is not None and int(size[1]) >= ServeConfig().limits.upload_mb


def test_the_container_listens_at_the_servers_port_and_is_what_is_composed():
    assert set(re.findall(r"EXPOSE (\d+)", CONTAINERFILE)) == {str(ServeConfig().port)}
    assert entry_points().keys() == {"local", "vllm"}
    build = compose()["services"]["serve"]["build"]
    assert (SERVE / build["context"] / build["dockerfile"]).read_text() == CONTAINERFILE
