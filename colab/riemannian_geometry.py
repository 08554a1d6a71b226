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
# # The geometry of latent space
#
# A decoder makes a manifold of its latent space: how far two codes are from each other is how much the image changes on
# the way. Arvanitidis, Hansen and Hauberg, [arXiv:1710.11379](https://arxiv.org/abs/1710.11379), measure that by the
# decoder's Jacobians; Kalatzis et al., [arXiv:2002.05227](https://arxiv.org/abs/2002.05227), make the law of a Brownian
# motion on it the prior of a VAE. What is wrong with their printed formulas is said, and tested, where it is built.
#
# On a fresh machine: `pip install tfzoo`.

# %%
import os

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

import tfzoo
from tfzoo import latent_geometry, pictures
from tfzoo.geometry import geodesic, metric
from tfzoo.integrators import riemannian_brownian

EPOCHS = int(os.environ.get("EPOCHS", "60"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## A sphere, to begin with
#
# Any function from codes to outputs will do as an embedding, here longitude and latitude to points of the unit sphere.
# Geodesics are its great circles.


# %%
def sphere(angles: tf.Tensor) -> tf.Tensor:
    longitude, latitude = tf.unstack(angles, axis=-1)
    east, north, up = tf.cos(latitude) * tf.cos(longitude), tf.cos(latitude) * tf.sin(longitude), tf.sin(latitude)
    return tf.stack([east, north, up], axis=-1)


paris, tokyo = tf.constant([0.041, 0.853]), tf.constant([2.438, 0.622])
flight = tf.function(lambda: geodesic.solve(sphere, paris, tokyo, num_points=64))()
angle = np.arccos(np.sum(sphere(paris[tf.newaxis]) * sphere(tokyo[tf.newaxis])))
print(f"Paris to Tokyo: {6371 * float(flight.length):.0f} km, by the great circle {6371 * angle:.0f} km")
plt.plot(*np.stack([paris, tokyo]).T, "k--", label="straight on the map")
plt.plot(*flight.points.numpy().T, label="geodesic")
plt.xlabel("longitude")
plt.ylabel("latitude")
plt.legend()
plt.show()

# %% [markdown]
# A Brownian motion forgets where it came from: the mean cosine of the angle to its start falls as exp(-t). Without the
# Laplace-Beltrami drift, which the paper leaves out, it depends on the coordinates: most so in high latitudes.

# %%
start = tf.tile([[0.0, 1.1]], [4000, 1])
for drift in (True, False):
    walk = tf.function(
        lambda drift=drift: riemannian_brownian.integrate(
            riemannian_brownian.init(start),
            lambda z: metric.pullback(sphere, z),
            duration=0.2,
            num_steps=5 * EPOCHS,
            drift=drift,
            seed=0,
        )
    )
    cosines = tf.reduce_sum(sphere(walk().position) * sphere(start), axis=-1).numpy()
    error = cosines.std() / len(cosines) ** 0.5
    print(f"drift={drift!s:5}: mean cosine {cosines.mean():.4f} +- {error:.4f}, exp(-t) = {np.exp(-0.2):.4f}")

# %% [markdown]
# ## A VAE with a Brownian prior
#
# Two stages in one `fit`: first the codes, then the decoder's scale, small near the codes and large elsewhere, and the
# prior's mean and duration. Beside it the VAE of the same decoder with N(0, I).

# %%
train = tfzoo.data.load("digits", "train", batch_size=50)
test = next(iter(tfzoo.data.load("digits", "test", batch_size=300)))
models = {}
for prior in (None, "standard"):
    model = tfzoo.create_model(
        "riemannian_vae",
        event_shape=(8, 8, 1),
        latent_dim=2,
        num_centres=100,
        prior=prior,
        first_stage_epochs=(EPOCHS + 1) // 2,
        seed=0,
    )
    model.compile(optimizer=keras.optimizers.Adam(4e-3))
    model.fit(train, epochs=EPOCHS, verbose=0)
    models["Brownian motion" if prior is None else "N(0, I)"] = model
    print(f"{prior or 'brownian'}: bound {tf.reduce_mean(model.elbo(test['image'], seed=0)):.1f} nats")

# %% [markdown]
# Latent space as the decoder sees it: the volume of each place, straight lines (dashed) and geodesics between codes,
# and Brownian motions from the prior's mean. `tfzoo geometry RUN` draws the same for any model of two latents.

# %%
model = models["Brownian motion"]
survey = latent_geometry.map_of(model, test["image"], num_pairs=8, num_walks=4, num_points=60)
figure, axes = plt.subplots(1, 2, figsize=(11, 5), sharex=True, sharey=True)
for axis in axes:
    axis.pcolormesh(*survey.axes, survey.log_volume.T)
    axis.scatter(*survey.codes.T, s=3, c="white")
for line, curve in zip(survey.lines, survey.geodesics, strict=True):
    axes[0].plot(*line.T, "r--", linewidth=1)
    axes[0].plot(*curve.T, "r-", linewidth=1)
axes[0].set_title(f"energy of geodesics {np.mean(survey.energies[1] / survey.energies[0]):.2f} of the lines'")
axes[1].plot(*np.moveaxis(survey.walks, -1, 0), linewidth=0.8)
axes[1].set_title("Brownian motions")
plt.show()

# %% [markdown]
# From one digit to another: on the straight line, and below it on the geodesic, which goes through places that have
# seen data. Then samples of both priors.

# %%
codes = model.encode(test["image"][:6])
both = tf.stack(latent_geometry.paths(model, codes[:3], codes[3:], 10), axis=1)
plt.figure(figsize=(8, 5))
plt.imshow(pictures.grid(model.decode(tf.reshape(both, [-1, 2])), columns=10), cmap="gray")
plt.axis("off")
plt.show()

figure, axes = plt.subplots(1, 2, figsize=(8, 4))
for (name, each), axis in zip(models.items(), axes, strict=True):
    axis.imshow(pictures.grid(each.sample(25, seed=0), columns=5), cmap="gray")
    axis.set_title(name)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## With TFP
#
# The prior is a distribution: its density is the heat kernel, its samples are ends of Brownian motions.

# %%
law = tfzoo.distributions.RiemannianBrownian(codes[0], 0.1 * model.prior().duration, embedding_fn=model.embedding)
near = law.sample(5, seed=0)
print("log p(z):", tf.function(law.log_prob)(near).numpy())
