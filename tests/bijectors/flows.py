"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo.bijectors import IAF, CouplingFlow, FlowChain

GLOW = {"actnorm": True, "mixing": "lu", "transformation": "sigmoid_affine"}
SMALL = {"num_steps": 2, "hidden_units": (8, 8)}

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {
    "iaf, gated": lambda size, dtype: IAF(size, **SMALL, transformation="gated", dtype=dtype),
    "iaf, affine": lambda size, dtype: IAF(size, num_steps=3, hidden_units=(8,), order="permuted", dtype=dtype),
    "realnvp": lambda size, dtype: CouplingFlow(size, **SMALL, dtype=dtype),
    "glow": lambda size, dtype: CouplingFlow(size, **SMALL, **GLOW, dtype=dtype),
    "spline": lambda size, dtype: CouplingFlow(size, **SMALL, transformation="spline", dtype=dtype),
    "chain": lambda size, dtype: FlowChain([FLOWS[name](size, dtype) for name in ("realnvp", "iaf, gated")]),
}
