"""The flows that keep the promises of test_bijectors_flows.py: a new flow adds a line."""

from tfzoo.bijectors import IAF, CouplingFlow, FlowChain, PCPMap

GLOW = {"actnorm": True, "mixing": "lu", "transformation": "sigmoid_affine"}
SMALL = {"num_steps": 2, "hidden_units": (8, 8)}

# name -> (latent_dim, dtype) -> a small flow
FLOWS = {
    "iaf": lambda size, dtype: IAF(size, num_steps=3, hidden_units=(8,), order="permuted", dtype=dtype),
    "glow": lambda size, dtype: CouplingFlow(size, **SMALL, **GLOW, dtype=dtype),
    "spline": lambda size, dtype: CouplingFlow(size, **SMALL, transformation="spline", dtype=dtype),
    "chain": lambda size, dtype: FlowChain([SETTINGS[name](size, dtype) for name in ("realnvp", "iaf, gated")]),
    "pcp_map": lambda size, dtype: PCPMap(size, hidden_units=(8, 8), dtype=dtype),
}
# Other settings of the same layers: what can differ is the map, not what is done with it.
SETTINGS = {
    "iaf, gated": lambda size, dtype: IAF(size, **SMALL, transformation="gated", dtype=dtype),
    "realnvp": lambda size, dtype: CouplingFlow(size, **SMALL, dtype=dtype),
    "pcp_map, projection": lambda size, dtype: PCPMap(
        size, hidden_units=(8,), context_units=(5,), nonnegative="projection", log_det_dtype="float64", dtype=dtype
    ),
}
