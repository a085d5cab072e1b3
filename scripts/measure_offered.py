#!/usr/bin/env python
"""How often an audit offers an answer to a judge that knows it so well, simulated.

    python scripts/measure_offered.py              # the table of docs/audit.md, some minutes

An answer of kappa k agrees with the truth in (1 + k) / 2 of its claims, half of which are true. It is offered where the
lower end of its interval reaches `LEAST_KAPPA`; beside it how often the estimate alone does.
"""

from __future__ import annotations

import argparse

import numpy as np

from v2t_eval.audit.agreement import Claim, agreement_of
from v2t_eval.judge.calibration import LEAST_KAPPA

CLAIMS = (10, 14, 20, 30, 42, 60)
KAPPAS = (0.5, 0.6, 0.8, 0.9, 0.95)


def draw_claims(kappa: float, num: int, rng: np.random.Generator) -> list[Claim]:
    """`num` true and as many false claims, each about a clip of its own."""
    right = rng.random(2 * num) < (1 + kappa) / 2
    return [
        Claim(clip=str(n), kind="kind", true=n < num, chance=0.5, yes=bool(is_right) == (n < num), answer="answer")
        for n, is_right in enumerate(right)
    ]


def is_offered(kappa: float, num: int, rng: np.random.Generator) -> tuple[bool, bool]:
    """Whether an audit offers the answer by the estimate of kappa, and by the lower end of its interval."""
    value, ends = agreement_of(draw_claims(kappa, num, rng))
    return (value or 0.0) >= LEAST_KAPPA, ends.low >= LEAST_KAPPA


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000, metavar="N", help="audits a cell (default: 2000)")
    runs = parser.parse_args().runs
    print("offered, per cent of audits: by the estimate → by the lower end\n")
    print(f"| true kappa | {' | '.join(f'{num} true claims' for num in CLAIMS)} |")
    print("|" + "---|" * (1 + len(CLAIMS)))
    for kappa in KAPPAS:
        cells = []
        for num in CLAIMS:
            rng = np.random.default_rng([int(100 * kappa), num])
            first, second = 100 * np.mean([is_offered(kappa, num, rng) for _ in range(runs)], axis=0)
            cells.append(f"{first:.1f} → {second:.1f}")
        print(f"| {kappa:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
