"""Invertible maps as `tfb.Bijector`s."""

from tfzoo.bijectors.phase_space import LeapfrogStep, QuasiSymplecticStep

__all__ = ["LeapfrogStep", "QuasiSymplecticStep"]
