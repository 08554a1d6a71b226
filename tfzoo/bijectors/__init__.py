"""Invertible maps: `tfb.Bijector`s, and Keras layers that make them from their weights and a context."""

from tfzoo.bijectors.pcp_map import PCPMap
from tfzoo.bijectors.phase_space import LeapfrogStep, QuasiSymplecticStep

__all__ = ["LeapfrogStep", "PCPMap", "QuasiSymplecticStep"]
