# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Flow posteriors
#
# A Gaussian encoder cannot follow a posterior that is bent, skewed or correlated. A flow can: an inverse autoregressive
# flow (Kingma et al., [arXiv:1606.04934](https://arxiv.org/abs/1606.04934)), the gradient of a convex network (PCP-Map,
# Wang et al., [arXiv:2310.16975](https://arxiv.org/abs/2310.16975)), coupling layers, splines.
#
# On a fresh machine: `pip install tfzoo`.

# %%
import os

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfzoo
from tfzoo import posterior_grid
from tfzoo.bijectors import IAF, CouplingFlow, FlowChain, PCPMap

tfb, tfd = tfp.bijectors, tfp.distributions
EPOCHS = int(os.environ.get("EPOCHS", "40"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A flow alone
#
# A flow is a Keras layer: Keras tracks, trains and saves its weights. `flow.bijector(context)` is a plain TFP bijector,
# made fresh for each use. Here two numbers whose law depends on a third; the density is learned by `fit`.

# %%
rng = np.random.default_rng(0)
c = rng.uniform(-1, 1, [2000, 1]).astype(np.float32)
first = rng.normal(size=[2000, 1])
x = np.concatenate([first, c * first**2 + 0.3 * rng.normal(size=[2000, 1])], axis=1).astype(np.float32)


class ConditionalDensity(keras.Model):
    """log p(x | c)."""

    def __init__(self, flow: tfzoo.bijectors.Flow) -> None:
        super().__init__()
        self.flow = flow

    def distribution(self, context: tf.Tensor) -> tfd.Distribution:
        base = tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1)
        return tfd.TransformedDistribution(base, tfb.Invert(self.flow.bijector(context)))

    def call(self, inputs: dict) -> tf.Tensor:
        return self.distribution(inputs["c"]).log_prob(inputs["x"])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True) -> tf.Tensor:
        return -tf.reduce_mean(y_pred)


flows = {
    "IAF": IAF(2, num_steps=4, hidden_units=(32, 32)),
    "coupling": CouplingFlow(2, num_steps=4, hidden_units=(32, 32)),
    "PCP-Map": PCPMap(2),
    "chain": FlowChain([CouplingFlow(2, num_steps=2, hidden_units=(32,)), IAF(2, num_steps=1, hidden_units=(32,))]),
}
figure, axes = plt.subplots(1, len(flows), figsize=(3 * len(flows), 3), sharex=True, sharey=True)
axis = np.linspace(-3, 3, 61, dtype=np.float32)
grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
for (name, flow), panel in zip(flows.items(), axes, strict=True):
    density = ConditionalDensity(flow)
    density.compile(keras.optimizers.Adam(5e-3))
    history = density.fit({"x": x, "c": c}, batch_size=200, epochs=EPOCHS, verbose=0)
    print(f"{name:9} -log p(x|c) = {history.history['loss'][-1]:.3f} nats")
    log_prob = density.distribution(tf.constant([0.9])).log_prob(grid)
    panel.pcolormesh(axis, axis, np.exp(log_prob).reshape(61, 61).T)
    panel.set_title(f"{name}: p(x | c = 0.9)")
plt.show()

# %% [markdown]
# TFP's own tools take the bijectors: here as a surrogate posterior.

# %%
import tf_keras

flow = IAF(2, num_steps=2, hidden_units=(16,))
surrogate = tfd.TransformedDistribution(tfd.Independent(tfd.Normal(tf.zeros(2), 1.0), 1), flow.bijector())
losses = tfp.vi.fit_surrogate_posterior(
    lambda z: -0.5 * tf.reduce_sum(z**2, -1) - 2.0 * (z[..., 1] - z[..., 0] ** 2) ** 2,
    surrogate,
    tf_keras.optimizers.Adam(0.02),
    num_steps=10 * EPOCHS,
    sample_size=50,
    seed=1,
)
print("negative bound from", float(losses[0]), "to", float(tf.reduce_mean(losses[-5:])))

# %% [markdown]
# ## As the posterior of a VAE
#
# `iaf_vae` and `pcp_map_vae` are models of their own; any flow can be the posterior of the VAE and of the IWAE, by its
# name or as a layer (`tfzoo.create_model("vae", posterior="spline", ...)`). With two latents the true posterior can be
# had on a grid, and shown beside the approximation. The gap is what the approximation costs; after so short a training
# it moves by a tenth of a nat from one seed to the next.

# %%
keras.utils.set_random_seed(0)  # again, for what follows alone
train = tfzoo.data.load("digits", "train", batch_size=50)
images = next(iter(tfzoo.data.load("digits", "test", batch_size=300)))["image"]
options = {"event_shape": (8, 8, 1), "latent_dim": 2, "likelihood": "gaussian", "seed": 0}
models = {
    "vae": tfzoo.create_model("vae", **options),
    "iaf_vae": tfzoo.create_model("iaf_vae", num_steps=4, hidden_units=(32, 32), **options),
    "pcp_map_vae": tfzoo.create_model("pcp_map_vae", **options),
}
for name, model in models.items():
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    model.fit(train, epochs=EPOCHS, verbose=0)
    elbo, log_prob = (float(tf.reduce_mean(f(images, 50, seed=1))) for f in (model.elbo, model.log_prob))
    print(f"{name:12} ELBO {elbo:.2f}, log p(x) {log_prob:.2f}, gap {log_prob - elbo:.2f} nats")

# %%
figure, axes = plt.subplots(2, len(models), figsize=(3 * len(models), 6))
for column, (name, model) in zip(axes.T, models.items(), strict=True):
    found = posterior_grid.compare(model, images[3], num_points=80)
    for panel, log_density, title in zip(
        column,
        (found.true, found.approximate),
        (f"{name}: true", f"gap {found.log_prob - found.elbo:.2f}"),
        strict=True,
    ):
        panel.pcolormesh(found.first, found.second, np.exp(log_density).T, vmax=np.exp(found.true.max()))
        panel.set_title(title)
plt.show()
