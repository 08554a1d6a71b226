"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo.bijectors import IAF

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {
    "iaf, gated": lambda size, dtype: IAF(size, num_steps=2, hidden_units=(8, 8), transformation="gated", dtype=dtype),
    "iaf, affine": lambda size, dtype: IAF(size, num_steps=3, hidden_units=(8,), order="permuted", dtype=dtype),
}
