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
# # Learned priors: a flow, an energy
#
# A generator is easier to learn if the prior comes to meet the codes. Xie et al.,
# [arXiv:2301.09300](https://arxiv.org/abs/2301.09300), learn a normalizing flow as the prior, Pang et al.,
# [arXiv:2006.08205](https://arxiv.org/abs/2006.08205), an energy: both together with the generator, from codes that a
# few steps of Langevin dynamics find, without an encoder.
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
from tfzoo.models.inpainting import deviation

EPOCHS = int(os.environ.get("EPOCHS", "60"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Three priors of one generator
#
# Zeros, ones and twos of the embedded digits with two latents, so that priors can be seen: N(0, I), the flow, the
# energy. A learned prior has an optimizer of its own, and an energy needs small steps: where it changes faster than its
# short chains can follow, they run away. `prior()` is a TFP distribution; the energy's density is known up to a factor,
# which the picture does not need. Codes are those of training, by the chain with its noise.

# %%
data = {"value_range": (-1, 1), "classes": (0, 1, 2)}
train = tfzoo.data.load("digits", "train", batch_size=50, **data)
options = {"event_shape": (8, 8, 1), "latent_dim": 2, "num_steps": 20, "step_size": 0.1, "seed": 0}
models = {
    "abp": tfzoo.create_model("abp", chain="noise", **options),
    "latent_flow": tfzoo.create_model("latent_flow", flow_width=32, **options),
    "latent_ebm": tfzoo.create_model("latent_ebm", prior_num_steps=40, **options),
}
rates = {"latent_flow": 1e-3, "latent_ebm": 1e-4}
for name, model in models.items():
    learned = {"prior_optimizer": keras.optimizers.Adam(rates[name])} if name in rates else {}
    model.compile(optimizer=keras.optimizers.Adam(2e-3), **learned)
    model.fit(train, epochs=EPOCHS, verbose=0)

# %%
test = next(iter(tfzoo.data.load("digits", "train", batch_size=300, shuffle=False, **data)))
axis = np.linspace(-4, 4, 81, dtype=np.float32)
grid = np.stack(np.meshgrid(axis, axis), -1)
figure, axes = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True)
for (name, model), axis in zip(models.items(), axes, strict=True):
    log_density = model.prior().unnormalized_log_prob(grid)
    axis.contourf(grid[..., 0], grid[..., 1], np.exp(log_density - tf.reduce_max(log_density)), levels=12, cmap="Blues")
    codes = model(test["image"], seed=1)["z"][0]
    for digit in (0, 1, 2):
        axis.plot(*np.asarray(codes)[np.asarray(test["label"]) == digit].T, ".", markersize=3, label=f"digit {digit}")
    axis.set(title=name, aspect="equal", xlim=(-4, 4), ylim=(-4, 4))
axes[0].legend()
plt.show()

# %% [markdown]
# Samples of each; the last row those of the flow at temperature 0.7, nearer to its modes.

# %%
rows = [model.sample(12, seed=0) for model in models.values()]
rows.append(models["latent_flow"].sample(12, seed=0, temperature=0.7))
plt.figure(figsize=(9, 3.5))
plt.imshow(pictures.grid(tf.concat(rows, 0), columns=12, value_range=(-1, 1)), cmap="gray")
plt.axis("off")
plt.show()

# %% [markdown]
# ## Completions, and how sure they are
#
# Samples of the chain on the visible pixels (`inference="short_run"`) differ where the visible part leaves open what is
# hidden. Rows: images, what is seen, two completions, their deviation over eight.

# %%
images = test["image"][:10]
mask = np.ones([8, 8, 1], np.float32)
mask[:, 4:] = 0
sampler = tfzoo.create_model("latent_flow", flow_width=32, inference="short_run", **(options | {"num_steps": 200}))
sampler.adopt_weights(models["latent_flow"])
completions = sampler.inpaint(images, mask, 8, seed=0)
rows = [images, tf.where(mask > 0, images, -1.0), *completions[:2], 2 * deviation(completions) - 1]
plt.figure(figsize=(8, 4))
plt.imshow(pictures.grid(tf.concat(rows, 0), columns=10, value_range=(-1, 1)), cmap="gray")
plt.axis("off")
plt.show()

# %% [markdown]
# ## Images that nobody has seen whole
#
# Here each training image has a square hidden, always the same one, and nothing looks behind it. The model learns from
# what is left, and completes the images it learned from. Rows: images, what is seen, recovered.

# %%
hidden = tfzoo.data.load("digits", "train", batch_size=50, mask="square:3", **data)
model = tfzoo.create_model("latent_flow", flow_width=32, **options)
model.compile(optimizer=keras.optimizers.Adam(2e-3), prior_optimizer=keras.optimizers.Adam(1e-3))
model.fit(hidden, epochs=EPOCHS, verbose=0)
batch = next(iter(tfzoo.data.load("digits", "train", batch_size=10, shuffle=False, mask="square:3", **data)))
recovered = model.inpaint(batch["image"], batch["mask"], 1, seed=0)[0]
rows = [test["image"][:10], tf.where(batch["mask"] > 0, batch["image"], -1.0), recovered]
plt.figure(figsize=(8, 2.5))
plt.imshow(pictures.grid(tf.concat(rows, 0), columns=10, value_range=(-1, 1)), cmap="gray")
plt.axis("off")
plt.show()
