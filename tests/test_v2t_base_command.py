"""What stands around a command: exit codes, and the traceback that -v shows."""

from __future__ import annotations

import pytest

from t2v.generators import open_generator
from v2t.base.command import guarded
from v2t.base.errors import UsageError
from v2t.captioners import open_captioner
from v2t.cli import main


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FileNotFoundError(2, "No such file or directory", "w.bin"), 5, "error ENVIRONMENT: "),
        (KeyError("x"), 1, "error UNEXPECTED: KeyError: 'x'"),
        (UsageError("no"), 2, "error USAGE: no"),
    ],
)
def test_an_error_is_a_line_and_a_traceback_only_with_v(error, code, says, capsys):
    def work() -> int:
        raise error

    assert guarded(work, traceback=False) == code
    plain = capsys.readouterr().err
    assert plain.startswith(says) and "Traceback" not in plain
    assert guarded(work, traceback=True) == code
    full = capsys.readouterr().err
    assert says in full
    assert ("Traceback" in full and "in work" in full) == (code != 2)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "CPU", ""])
@pytest.mark.parametrize(
    "opened",
    [
        lambda device: open_captioner("starter", device=device),
        lambda device: open_generator("world", device=device),
    ],
)
def test_an_unknown_device_is_refused_with_the_choices(opened, device):
    with pytest.raises(UsageError, match=f"auto, cpu, cuda or cuda:N, got '{device}'"):
        opened(device)


@pytest.mark.parametrize("name", ["--output", "--out", "-o"])
def test_the_folder_for_results_has_one_name(name, tmp_path):
    assert main(["world", "--num", "0", name, str(tmp_path / "w")]) in (0, 2)
    assert main(["train", str(tmp_path / "none.yaml"), name, str(tmp_path)]) == 2
