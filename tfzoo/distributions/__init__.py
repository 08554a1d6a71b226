"""Likelihoods, posteriors and priors: Keras layers that own weights and make plain TFP distributions."""

from tfzoo.distributions.likelihoods import BernoulliLikelihood, GaussianLikelihood
from tfzoo.distributions.posteriors import GaussianPosterior
from tfzoo.distributions.priors import StandardNormalPrior
from tfzoo.distributions.tracked import TrackedDistribution

__all__ = [
    "BernoulliLikelihood",
    "GaussianLikelihood",
    "GaussianPosterior",
    "StandardNormalPrior",
    "TrackedDistribution",
]
