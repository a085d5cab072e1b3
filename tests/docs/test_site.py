"""The documentation site: it is built strictly and offline, all its links hold, its contents leave no page out."""

from __future__ import annotations

import re
import tomllib
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[2]
TITLE = '[project]\nsite_name = "x"\ndocs_dir = "pages"\nsite_dir = "site"\n'

pytestmark = pytest.mark.skipif(not find_spec("zensical"), reason="zensical is not installed (extra dev)")


@pytest.fixture(scope="module")
def build_site():
    spec = spec_from_file_location("build_site", ROOT / "scripts/build_site.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build_site


@pytest.fixture(scope="module")
def site(build_site, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "site"
    assert build_site(ROOT, folder) == 0
    return folder


@pytest.mark.slow
def test_every_link_of_the_built_site_holds(site):
    pages = {path: path.read_text("utf-8") for path in site.rglob("*.html") if path.name != "404.html"}
    assert len(pages) > 20
    anchors = {path: set(re.findall(r'\sid="?([^"\s>]+)', text)) for path, text in pages.items()}
    broken, seen = [], 0
    for path, text in pages.items():
        for link in re.findall(r'<(?:a|img)\b[^>]*?\s(?:href|src)="?([^"\s>]+)', text):
            if re.match(r"[a-z][a-z0-9+.-]*:", link):
                continue
            seen += 1
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            if not target.exists() or (anchor and target in anchors and anchor not in anchors[target]):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken and seen > 500


def test_every_page_is_in_the_contents():
    contents = tomllib.loads((ROOT / "docs/site.toml").read_text("utf-8"))["project"]["nav"]
    named = set(re.findall(r"'([\w./-]+\.md)'", repr(contents)))
    assert {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")} <= named


@pytest.mark.slow
@pytest.mark.parametrize("link", ["gone.md", "docs/there.md#gone", "#gone"])
def test_a_broken_link_ends_the_build(build_site, tmp_path, link, capfd):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text("# There\n")
    (tmp_path / "docs/site.toml").write_text(TITLE)
    (tmp_path / "README.md").write_text(f"# Home\n\n[there](docs/there.md) [planted]({link})\n")
    assert build_site(tmp_path, tmp_path / "built") != 0
    assert "does not exist" in capfd.readouterr().err and not (tmp_path / "built").exists()
