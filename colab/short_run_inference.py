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
# # Short-run inference and optimal transport
#
# A generator can be learned without an encoder: a few steps of Langevin dynamics on log p(x, z) find a code for each
# image, and the generator learns from the pairs (alternating back-propagation, Han et al.,
# [arXiv:1606.08571](https://arxiv.org/abs/1606.08571)). Short chains are biased: all codes together are not distributed
# as the prior. An, Xie and Li (CVPR 2021) match the codes with samples of the prior by optimal transport and move them.
#
# On a fresh machine: `pip install tfzoo`.

# %%
import os

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import tfzoo
from tfzoo import pictures
from tfzoo.integrators import short_run
from tfzoo.transport import semidiscrete

EPOCHS = int(os.environ.get("EPOCHS", "40"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A chain alone
#
# A step is `z + (s^2 / 2) grad log p(z) + s noise`. Nothing corrects for the size of the steps: on N(0, 1) the variance
# in the long run is 1 / (1 - s^2 / 4).

# %%
for s in (0.1, 0.5, 1.0):
    state = short_run.integrate(
        short_run.init(tf.zeros([20_000, 1])),
        lambda z: -0.5 * tf.reduce_sum(z**2, axis=-1),
        step_size=s,
        num_steps=round(20 / s**2) if s > 0.1 else 1000,
        seed=0,
    )
    print(f"s = {s}: variance {np.var(state.position):.3f}, in closed form {1 / (1 - s**2 / 4):.3f}")

# %% [markdown]
# ## A matching alone
#
# `semidiscrete.solve` matches points one to one at the least mean squared distance. The gap between its cost and its
# dual, a lower bound of every matching's cost, says how good it is.

# %%
rng = np.random.default_rng(0)
angle = rng.uniform(0, 2 * np.pi, 300)
ring = np.stack([2 * np.cos(angle), 2 * np.sin(angle)], -1) + 0.2 * rng.normal(size=[300, 2])
normal = rng.normal(size=[300, 2])
solution = semidiscrete.solve(ring, normal)
matched = normal[solution.assignment.numpy()]
plt.figure(figsize=(4, 4))
plt.plot(*np.stack([ring, matched]).transpose(2, 0, 1), color="0.8", linewidth=0.5)
plt.plot(*ring.T, ".", label="source")
plt.plot(*normal.T, ".", label="target")
plt.axis("equal")
plt.legend()
plt.title(f"cost {float(solution.cost):.4f}, at least {float(solution.dual):.4f}")
plt.show()

# %% [markdown]
# ## Both models
#
# Zeros and ones of the embedded digits, two latents, so that the codes can be seen; `alpha = 0` is alternating
# back-propagation. The history has the cost of the matching before each correction.

# %%
data = {"value_range": (-1, 1), "classes": (0, 1)}
train = tfzoo.data.load("digits", "train", batch_size=50, **data)
labels = np.concatenate([batch["label"] for batch in tfzoo.data.load("digits", batch_size=500, shuffle=False, **data)])
figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True)
for alpha, axis in zip((0.0, 0.5), axes, strict=True):
    model = tfzoo.create_model(
        "short_run_ot", event_shape=(8, 8, 1), latent_dim=2, alpha=alpha, step_size=0.1, num_steps=20, seed=0
    )
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    costs = model.fit(train, epochs=EPOCHS, verbose=0).history["transport_cost"]
    codes = np.asarray(model.chains.positions)
    for digit in (0, 1):
        axis.plot(*codes[labels == digit].T, ".", label=f"digit {digit}")
    axis.add_patch(plt.Circle((0, 0), 2.45, fill=False, color="0.5"))  # 95 % of the prior
    axis.set(title=f"alpha = {alpha}: cost {costs[0]:.2f} -> {costs[-1]:.2f}", aspect="equal")
axes[0].legend()
plt.show()

# %% [markdown]
# Test images, their reconstructions, completions of their lower halves (each from a chain of its own on the visible
# pixels), and samples of the corrected model.

# %%
images = next(iter(tfzoo.data.load("digits", "test", batch_size=8, **data)))["image"]
mask = np.ones([8, 8, 1], np.float32)
mask[4:] = 0
rows = [images, model.reconstruct(images, seed=0), *model.inpaint(images, mask, 2, seed=0), model.sample(8, seed=0)]
plt.figure(figsize=(8, 5))
plt.imshow(pictures.grid(tf.concat(rows, 0), columns=8, value_range=(-1, 1)), cmap="gray")
plt.axis("off")
plt.show()
