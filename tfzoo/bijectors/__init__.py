"""Invertible maps: `tfb.Bijector`s, and Keras layers that make them from their weights and a context."""

from tfzoo.bijectors.actnorm import ActNorm
from tfzoo.bijectors.coupling import CouplingFlow
from tfzoo.bijectors.flow import Flow
from tfzoo.bijectors.flow_chain import FlowChain
from tfzoo.bijectors.iaf import IAF
from tfzoo.bijectors.mixing import LUMixing
from tfzoo.bijectors.pcp_map import PCPMap
from tfzoo.bijectors.phase_space import LeapfrogStep, QuasiSymplecticStep

__all__ = [
    "IAF",
    "ActNorm",
    "CouplingFlow",
    "Flow",
    "FlowChain",
    "LUMixing",
    "LeapfrogStep",
    "PCPMap",
    "QuasiSymplecticStep",
]
