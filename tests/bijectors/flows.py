"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo import bijectors

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {
    "pcp_map": lambda size, dtype: bijectors.PCPMap(size, hidden_units=(8, 8), dtype=dtype),
    "pcp_map_projection": lambda size, dtype: bijectors.PCPMap(
        size, hidden_units=(8,), context_units=(5,), nonnegative="projection", log_det_dtype="float64", dtype=dtype
    ),
}
