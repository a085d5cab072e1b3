"""The tail test against hand-computed chances and against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.gate.tail import tail_test

RUNS = 300


def speaks(seed: int, *, num: int = 40, per: int = 4, broken: int = 0, harm: float = 0.0, kind: str = "normal") -> bool:
    rng = np.random.default_rng(seed)
    own = rng.normal(0.8, 0.1, (num, 1))
    noise = rng.standard_normal if kind == "normal" else lambda shape: rng.standard_t(3, shape)
    new, old = (own + 0.1 * noise((num, per)) for _ in range(2))
    new[:broken] -= 0.5
    found = tail_test(
        (new - harm).ravel(), old.ravel(), np.repeat(np.arange(num), per).tolist(), accepted=harm, alpha=0.05
    )
    assert found is not None
    return found.p < 0.05


def test_chances_by_hand() -> None:
    """Two seeds a side, two prompts that lost all: each split of (0, 0, 1, 1) into halves is the worst one of six."""
    found = tail_test([0, 0, 0, 0], [1, 1, 1, 1], "aabb", accepted=0.0, alpha=0.2)
    assert found is not None and found.num == 2 and found.fallen == ("a", "b") and found.limit == 0
    assert found.p == pytest.approx(1 / 36)
    same = tail_test([0.5] * 4, [0.5] * 4, "aabb", accepted=0.0, alpha=0.05)
    assert same is not None and same.fallen == () and same.p == 1


def test_one_clip_a_prompt_cannot_be_tested() -> None:
    assert tail_test([0, 0, 0], [1, 1, 1], "abc", accepted=0.0, alpha=0.05) is None
    assert tail_test([0, 0, 0], [1, 1, 1], "aab", accepted=0.0, alpha=0.05) is None


@pytest.mark.slow
@pytest.mark.parametrize(("per", "kind", "harm"), [(2, "normal", 0.0), (4, "normal", 0.03), (8, "heavy", 0.0)])
def test_it_seldom_speaks_where_nothing_broke(per: int, kind: str, harm: float) -> None:
    assert sum(speaks(seed, per=per, kind=kind, harm=harm) for seed in range(RUNS)) / RUNS < 0.08


def test_it_finds_two_broken_prompts() -> None:
    assert sum(speaks(seed, broken=2) for seed in range(40)) > 36
