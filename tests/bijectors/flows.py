"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo import bijectors

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {}
