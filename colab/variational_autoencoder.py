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
# # Train, measure, look, export: a variational autoencoder
#
# A VAE (Kingma and Welling, [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)) on scikit-learn's handwritten digits:
# real images of 8x8 pixels that need no download. With `tfzoo.data.load("mnist", ...)` the same cells train on MNIST.
#
# On a fresh machine: `pip install tfzoo`.

# %%
import os
import pathlib
import tempfile

import keras
import matplotlib.pyplot as plt
import tensorflow as tf

import tfzoo

EPOCHS = int(os.environ.get("EPOCHS", "60"))
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Data
#
# Elements are dicts of "image", "label" and "index". Models read "image" only.

# %%
train = tfzoo.data.load("digits", "train", batch_size=50)
validation = tfzoo.data.load("digits", "validation", batch_size=100)
test = tfzoo.data.load("digits", "test", batch_size=100)
images = next(iter(test))["image"]
print(images.shape)

# %% [markdown]
# ## Train
#
# A model is a `keras.Model`: `compile`, `fit`, callbacks, `tf.distribute` work as usual. Grey values get a Gaussian
# likelihood with a learned scale; binary images would take `likelihood="bernoulli"`.

# %%
model = tfzoo.create_model("vae", event_shape=(8, 8, 1), latent_dim=16, likelihood="gaussian", seed=0)
model.compile(optimizer=keras.optimizers.Adam(4e-3))
history = model.fit(train, validation_data=validation, epochs=EPOCHS, verbose=0)

plt.plot(history.history["loss"], label="training")
plt.plot(history.history["val_loss"], label="validation")
plt.xlabel("epoch")
plt.ylabel("-ELBO (nats an image)")
plt.legend()
plt.show()


# %% [markdown]
# ## Measure
#
# The ELBO is a lower bound on log p(x); importance sampling with 1,000 samples comes closer, and says how close.


# %%
def mean_and_error(values: tf.Tensor) -> str:
    return f"{tf.reduce_mean(values):.2f} +- {tf.math.reduce_std(values) / len(values) ** 0.5:.2f}"


print("ELBO    ", mean_and_error(model.elbo(images, seed=1)))
print("log p(x)", mean_and_error(model.log_prob(images, num_samples=1000, seed=1)))

estimate = tfzoo.objectives.importance.estimate(
    lambda z: model.log_joint(images, z), model.posterior(images), num_samples=1000, seed=1
)
print("median effective sample size", float(sorted(estimate.effective_sample_size.numpy())[50]))


# %% [markdown]
# ## Look


# %%
def show(pictures: tf.Tensor, columns: int) -> None:
    rows = -(-len(pictures) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(columns * 0.7, rows * 0.7))
    for axis, picture in zip(axes.flat, pictures, strict=True):
        axis.imshow(picture[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.axis("off")
    plt.show()


show(model.sample(40, seed=2), columns=10)

# %% [markdown]
# Ten test images and their reconstructions:

# %%
show(tf.concat([images[:10], model.reconstruct(images[:10])], 0), columns=10)

# %% [markdown]
# From one image to another in the latent space:

# %%
show(model.interpolate(images[:1], images[1:2], num_points=10)[0], columns=10)

# %% [markdown]
# The lower half hidden, and three completions of each image (Metropolis-within-Gibbs):

# %%
mask = tf.concat([tf.ones([4, 8, 1]), tf.zeros([4, 8, 1])], 0)
completed = model.inpaint(images[:10], mask, num_samples=3, seed=3)
show(tf.concat([images[:10] * mask, tf.reshape(completed, [-1, 8, 8, 1])], 0), columns=10)

# %% [markdown]
# ## Compose
#
# Prior, posterior and likelihood are plain TFP distributions.

# %%
print(model.prior())
print(model.posterior(images[:4]))
print(model.likelihood(model.prior().sample(4)))

# %% [markdown]
# ## Export
#
# A SavedModel that TensorFlow Serving loads as it is. Each row has its own seed, so that an answer never depends on
# the other requests in its batch.

# %%
path = pathlib.Path(tempfile.mkdtemp()) / "vae"
model.export(path)
served = tf.saved_model.load(str(path))
for name, signature in served.signatures.items():
    inputs = {key: spec.shape for key, spec in signature.structured_input_signature[1].items()}
    print(name, inputs, "->", {key: spec.shape for key, spec in signature.structured_outputs.items()})

# %%
seeds = tf.constant([[0, i] for i in range(20)], tf.int32)
show(served.signatures["sample"](seed=seeds)["images"], columns=10)
