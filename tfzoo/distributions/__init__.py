"""Likelihoods, posteriors and priors: Keras layers that own weights and make plain TFP distributions."""

from tfzoo.distributions.brownian import RiemannianBrownian
from tfzoo.distributions.brownian_prior import BrownianPrior
from tfzoo.distributions.energy_prior import EnergyDistribution, EnergyPrior
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.distributions.likelihoods import BernoulliLikelihood, GaussianLikelihood
from tfzoo.distributions.posteriors import GaussianPosterior
from tfzoo.distributions.priors import StandardNormalPrior
from tfzoo.distributions.tracked import TrackedDistribution
from tfzoo.distributions.vamp_prior import VampPrior

__all__ = [
    "BernoulliLikelihood",
    "BrownianPrior",
    "EnergyDistribution",
    "EnergyPrior",
    "FlowPrior",
    "GaussianLikelihood",
    "GaussianPosterior",
    "RiemannianBrownian",
    "StandardNormalPrior",
    "TrackedDistribution",
    "VampPrior",
]
