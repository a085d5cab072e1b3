"""JEDi (Luo et al. 2024, arXiv:2410.05203): 100 times the biased MMD^2 under ((1/d) x.y)^2, over V-JEPA features.

In: two sets of clips. Out: a number from 0; two sets of one distribution score above it by about 1/N, so the unbiased
form is reported too. JEDi's own features are those of the first V-JEPA (ViT-H/16, with the pooler of its SSv2 probe,
1280 numbers): whichever are used, the title names them. Arithmetic: `v2t_eval.distribution.kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.distribution.detectors import FeatureMetric
from v2t_eval.distribution.estimators import Estimator, KernelEstimator
from v2t_eval.distribution.kernels import QUADRATIC
from v2t_eval.distribution.metric import DistributionSettings


@dataclass(frozen=True, kw_only=True)
class JediSettings(DistributionSettings):
    """Choices of JEDi: `feature`, an extractor, see `v2t_eval.core.features`; there is no usual one."""

    feature: str = ""


class Metric(FeatureMetric):
    name = "jedi"
    detects = "what the clips look like as a set and how they move, as far as the features show"
    misses = "whether a clip fits its prompt; which clips are bad"
    requires = "V-JEPA weights, by name or folder (feature=vjepa:...)"
    Settings: ClassVar[type[Any]] = JediSettings

    def open(self) -> BaseExtractor:
        """The extractor `feature`.

        Raises:
            MissingDependencyError: none was named.
        """
        if not self.settings.feature:
            raise MissingDependencyError(
                "jedi needs V-JEPA features, and none were named",
                code="MODEL",
                hint="the published numbers are of the first V-JEPA (ViT-H/16 with its SSv2 pooler), which "
                "transformers does not have; V-JEPA 2 gives other numbers, under its own title: `hf download "
                "facebook/vjepa2-vitl-fpc16-256-ssv2` and feature=vjepa:facebook/vjepa2-vitl-fpc16-256-ssv2",
            )
        return super().open()

    def estimators(self) -> dict[str, Estimator]:
        return {
            "jedi": KernelEstimator(QUADRATIC, unbiased=False, scale=100.0),
            "jedi_unbiased": KernelEstimator(QUADRATIC, scale=100.0),
        }
