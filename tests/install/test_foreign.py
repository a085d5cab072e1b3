"""Cineloop's wheel beside other people's repositories: their `eval` stays theirs, and their pytest starts."""

from __future__ import annotations

import pytest

pytest_plugins = ["installed_wheel"]

OF_THEIRS = "NAME = 'theirs'\n"
LAYOUTS = {
    "a module": {"eval.py": OF_THEIRS},
    "a package": {"eval/__init__.py": OF_THEIRS},
    "a folder without __init__": {"eval/metrics.py": OF_THEIRS},
    "pythonpath in the ini file": {"eval.py": OF_THEIRS, "pytest.ini": "[pytest]\npythonpath = .\n"},
    "our names too": {"v2t.py": OF_THEIRS, "t2v/__init__.py": OF_THEIRS, "pytest.ini": "[pytest]\npythonpath = .\n"},
}
A_TEST = "def test_theirs():\n    assert True\n"


@pytest.fixture
def repository(tmp_path):
    """`repository(files)`: somebody's repository with one test."""

    def make(files):
        for name, text in {"test_theirs.py": A_TEST, **files}.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "."], ids=["as it is", "PYTHONPATH=."])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_their_tests_run(installed, repository, layout, path):
    env = {"PYTHONPATH": path} if path else {}
    for words in (["pytest"], ["python", "-m", "pytest"]):
        ran = installed.run(*words, "-q", cwd=repository(LAYOUTS[layout]), env=env)
        assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["a module", "a package", "a folder without __init__"])
def test_our_command_starts_among_their_files(installed, repository, layout):
    ran = installed.run("v2t-eval", "--version", cwd=repository(LAYOUTS[layout]), env={"PYTHONPATH": "."})
    assert ran.returncode == 0 and ran.stdout.startswith("cineloop "), ran.stderr


@pytest.mark.slow  # the wheel is built
@pytest.mark.parametrize(
    ("layout", "line"),
    [("a module", "from eval import NAME"), ("a package", "from eval import NAME"),
     ("a folder without __init__", "from eval.metrics import NAME")],
)  # fmt: skip
def test_what_they_import_is_theirs(installed, repository, layout, line):
    folder = repository({**LAYOUTS[layout], "train.py": f"{line}\nprint(NAME)\n"})
    ran = installed.run("python", "train.py", cwd=folder)
    assert ran.stdout == "theirs\n", ran.stderr


@pytest.mark.slow  # the wheel is built
def test_the_wheel_owns_no_name_but_its_own(installed):
    there = {path.name for path in installed.site.iterdir() if path.suffix not in {".pth", ".dist-info"}}
    assert there - {"__pycache__"} == {"cineloop", "v2t", "t2v", "v2t_eval"}
    ran = installed.run("python", "-c", "import v2t_eval; print(v2t_eval.__path__[0])", cwd=installed.bin)
    assert ran.stdout.strip() == str(installed.site / "v2t_eval")


# --- the plug-in


IMPORTED = """
import sys

def test_nothing_of_ours_is_loaded():
    heavy = {"torch", "numpy", "transformers", "yaml", "cv2"} & set(sys.modules)
    ours = {name for name in sys.modules if name.split(".")[0] in ("v2t", "t2v", "v2t_eval")}
    assert not heavy and ours == {"v2t_eval", "v2t_eval.testing", "v2t_eval.testing.plugin"}, (heavy, ours)
"""


@pytest.mark.slow
def test_the_plugin_loads_nothing_before_it_is_asked(installed, repository):
    ran = installed.run("pytest", "-q", cwd=repository({"test_theirs.py": IMPORTED}))
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_a_package_that_cannot_be_imported_is_an_error_of_the_tests_that_ask_for_clips(installed, repository):
    asking = A_TEST + "def test_clip(assert_clip):\n    assert_clip('a.mp4', prompt='A red ball.')\n"
    folder = repository({"test_theirs.py": asking, "v2t.py": "raise ImportError('numpy.core failed to import')\n"})
    ran = installed.run("pytest", "-q", cwd=folder, env={"PYTHONPATH": "."})
    assert "1 passed, 1 error" in ran.stdout and "numpy.core failed to import" in ran.stdout, ran.stdout + ran.stderr


NAMED_ALIKE = {
    "conftest.py": "import pytest\n"
    "def pytest_addoption(parser):\n    parser.addoption('--clip-report')\n"
    "def pytest_configure(config):\n    config.addinivalue_line('markers', 'clip(length): of theirs')\n"
    "@pytest.fixture\ndef clip(request):\n    return request.node.get_closest_marker('clip').args[0]\n",
    "test_theirs.py": "import pytest\n@pytest.mark.clip(5)\ndef test_length(clip):\n    assert clip == 5\n",
}


@pytest.mark.slow
def test_fixtures_marks_and_options_of_theirs_come_first(installed, repository):
    ran = installed.run("pytest", "-q", cwd=repository(NAMED_ALIKE))
    assert ran.returncode == 0 and "1 passed" in ran.stdout, ran.stdout + ran.stderr
