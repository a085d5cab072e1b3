"""The module of scripts/simulate_cluster.py, which is no package."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_PATH = Path(__file__).resolve().parents[2] / "scripts" / "simulate_cluster.py"
_SPEC = importlib.util.spec_from_file_location("simulate_cluster", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
simulation = importlib.util.module_from_spec(_SPEC)
sys.modules["simulate_cluster"] = simulation
_SPEC.loader.exec_module(simulation)
