"""The guide says of each trainer what its file of rules says."""

from __future__ import annotations

import re

from source_tree import ROOT
from v2t_eval.trainers.rules import load_rules, trainers


def test_the_table_has_every_trainer_with_its_commit_date_and_models():
    text = (ROOT / "docs/trainers.md").read_text("utf-8")
    rows = {line.split("|")[1].strip(): [cell.strip(" `") for cell in line.split("|")[2:-1]]
            for line in re.findall(r"^\\|.*\\|$".replace("\\\\", "\\"), text, re.M)}  # fmt: skip
    names = rows[""]
    assert sorted(names) == sorted(trainers())
    for name, *cells in zip(names, rows["repository"], rows["commit"], rows["date"], rows["models"], strict=True):
        rules = load_rules(name)
        source = rules.source
        assert cells == [source.repository, source.commit[:12], source.date, ", ".join(rules.models)], name
