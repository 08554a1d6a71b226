"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo import bijectors

GLOW = {"actnorm": True, "mixing": "lu", "transformation": "sigmoid_affine"}
SMALL = {"num_steps": 2, "hidden_units": (8, 8)}

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {
    "realnvp": lambda size, dtype: bijectors.CouplingFlow(size, **SMALL, dtype=dtype),
    "glow": lambda size, dtype: bijectors.CouplingFlow(size, **SMALL, **GLOW, dtype=dtype),
    "spline": lambda size, dtype: bijectors.CouplingFlow(size, **SMALL, transformation="spline", dtype=dtype),
    "chain": lambda size, dtype: bijectors.FlowChain([FLOWS[name](size, dtype) for name in ("realnvp", "glow")]),
}
