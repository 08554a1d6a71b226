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
# # Hamiltonian and Langevin variational autoencoders
#
# An encoder's sample is moved by a few steps of dynamics towards the true posterior; the steps keep or shrink volume by
# a known factor, so the bound on log p(x) stays exact. Caterini et al.,
# [arXiv:1805.11328](https://arxiv.org/abs/1805.11328); Wang and Delingette,
# [arXiv:2009.01675](https://arxiv.org/abs/2009.01675), whose printed formulas contradict each other: what is right is
# said, and tested, in `tfzoo.integrators.quasi_symplectic`.
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
from tfzoo.integrators import leapfrog, quasi_symplectic

EPOCHS = int(os.environ.get("EPOCHS", "40"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## The integrators alone
#
# They take any log density. A double well: without damping the energy is kept, with damping chains come to rest.


# %%
def double_well(z: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(2.0 * z**2 - z**4, axis=-1)


def path(damping: float) -> np.ndarray:
    state, points = quasi_symplectic.init([[0.1]], [[1.0]]), []
    for _ in range(150):
        state = quasi_symplectic.step(state, double_well, step_size=0.1, damping=damping)
        points.append([state.position[0, 0], state.momentum[0, 0]])
    print(f"damping {damping}: log |det| = {state.log_det[0]:.2f}, that is -150 * 1 * {damping} * 0.1")
    return np.array(points)


for damping in (0.0, 0.2):
    plt.plot(*path(damping).T, ".-", label=f"damping {damping}")
plt.xlabel("position")
plt.ylabel("momentum")
plt.legend()
plt.show()

# %% [markdown]
# `leapfrog` is kick-drift-kick with optional tempering, `quasi_symplectic` drift-damp-kick-drift: both of order 2. All
# steps run in one loop, on any batch of chains, and can be differentiated.

# %%
errors = []
for num_steps in (10, 20, 40):
    end = leapfrog.integrate(
        leapfrog.init([[0.4]], [[0.9]]),
        lambda z: -0.5 * tf.reduce_sum(z**2, -1),
        step_size=1.0 / num_steps,
        num_steps=num_steps,
    )
    errors.append(abs(end.position[0, 0] - (0.4 * np.cos(1) + 0.9 * np.sin(1))))
print("halving the step divides the error by", np.array(errors[:-1]) / errors[1:])

# %% [markdown]
# ## Train
#
# The Langevin VAE beside the plain one: same networks, same epochs.

# %%
train = tfzoo.data.load("digits", "train", batch_size=50)
test = tfzoo.data.load("digits", "test", batch_size=300)
images = next(iter(test))["image"]

models = {}
for name, options in {
    "vae": {},
    "langevin_vae": {"num_steps": 5},
    "hamiltonian_vae": {"num_steps": 5},
}.items():
    model = tfzoo.create_model(name, event_shape=(8, 8, 1), latent_dim=16, likelihood="gaussian", seed=0, **options)
    model.compile(optimizer=keras.optimizers.Adam(2e-3))
    model.fit(train, epochs=EPOCHS, verbose=0)
    models[name] = model

# %% [markdown]
# Images differ more than models do: compare image by image.

# %%
log_probs = {name: model.log_prob(images, num_samples=5 * EPOCHS, seed=1) for name, model in models.items()}
for name, values in log_probs.items():
    gain = values - log_probs["vae"]
    error = tf.math.reduce_std(gain) / len(images) ** 0.5
    print(f"{name:16} log p(x) {tf.reduce_mean(values):.2f}, gain {tf.reduce_mean(gain):+.2f} +- {error:.2f}")

# %% [markdown]
# ## The gap that is left
#
# With `annealed=True` the steps go through targets between the encoder's distribution and the posterior, and the
# momentum is refreshed: a bound that tightens with more steps. Here on the trained VAE's networks, with nothing learned
# but the annealing's own step sizes, temperatures and refreshment.

# %%
vae = models["vae"]
for num_steps in (0, 2, 8):
    model = tfzoo.create_model(
        "langevin_vae",
        event_shape=(8, 8, 1),
        latent_dim=16,
        likelihood="gaussian",
        num_steps=num_steps,
        annealed=True,
        step_size=0.05,
        encoder=vae.encoder,
        decoder=vae.decoder,
        seed=0,
    )
    for ours, trained in ((model.posterior_layer, vae.posterior_layer), (model.likelihood_layer, vae.likelihood_layer)):
        ours.set_weights(trained.get_weights())
    for layer in (model.encoder, model.decoder, model.posterior_layer, model.likelihood_layer):
        layer.trainable = False
    if num_steps:
        model.compile(optimizer=keras.optimizers.Adam(2e-2))
        model.fit(train, epochs=max(1, EPOCHS // 8), verbose=0)
    print(f"{num_steps:2} steps: {tf.reduce_mean(model.elbo(images, 8, seed=2)):.2f} nats")
print("   log p(x) by importance sampling:", float(tf.reduce_mean(log_probs["vae"])))
vae.encoder.trainable = vae.decoder.trainable = True

# %% [markdown]
# ## With TFP
#
# The steps are also transition kernels for `tfp.mcmc.sample_chain`, with a Metropolis test where the target has to be
# exact, and bijectors of phase space. Posterior samples for one image, from eight chains:

# %%
x = images[:1]
kernel = tfzoo.integrators.kernels.GeneralizedHamiltonianMonteCarlo(
    lambda z: vae.log_joint(x, z[:, tf.newaxis])[:, 0], step_size=0.1, num_steps=5, damping=1.0
)


@tf.function(autograph=False)
def run_chains() -> tuple[tf.Tensor, tf.Tensor]:
    return tfp.mcmc.sample_chain(
        10 * EPOCHS,
        vae.posterior(x).sample(8, seed=[0, 1])[:, 0],
        kernel=kernel,
        trace_fn=lambda _, results: results.is_accepted,
        seed=[0, 2],
    )


samples, accepted = run_chains()
print("accepted", float(tf.reduce_mean(tf.cast(accepted, tf.float32))))
kept = samples[len(samples) // 2 :]
print("deviation of the posterior", tf.math.reduce_std(kept, axis=[0, 1])[:4].numpy())
print("             of the encoder", vae.posterior(x).stddev()[0, :4].numpy())

# %%
step = tfzoo.bijectors.QuasiSymplecticStep(double_well, step_size=0.1, damping=0.5)
phase_space = tfp.distributions.MultivariateNormalDiag(tf.zeros(2), tf.ones(2))
moved = tfp.distributions.TransformedDistribution(phase_space, tfp.bijectors.Chain([step] * 10))
print(moved.log_prob(moved.sample(3, seed=[0, 3])))

# %% [markdown]
# ## Volumes
#
# The same model takes volumes: `event_shape=(60, 50, 50, 1)` chooses convolutions in three dimensions, and
# `tfzoo.data.load` reads folders of NIfTI files and DICOM series. Here are phantoms like cochleas; the preset
# `langevin_vae_volume` trains on them.

# %%
tubes = tfzoo.data.spiral_tubes(6, seed=1)
figure, axes = plt.subplots(1, 6, figsize=(12, 2))
for axis, tube in zip(axes, tubes, strict=True):
    axis.imshow(np.max(tube[..., 0], axis=1), cmap="gray", origin="lower")
    axis.axis("off")
plt.show()

volumes = tfzoo.create_model("langevin_vae_volume", num_steps=2, seed=0)
volumes.compile(optimizer=keras.optimizers.Adamax(5e-4))
volumes.fit(tubes, batch_size=2, epochs=1, verbose=0)
print(volumes.elbo(tubes[:2], seed=1), "nats a volume, of", volumes.event_shape)
