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
# # From training to a client
#
# Train a model, export it as a SavedModel, serve it, and ask it from a program that knows nothing of TensorFlow. The
# server here is the development server of this repository, which speaks TF Serving's REST and gRPC interfaces; in
# production the stock image `tensorflow/serving` serves the same folder (`serving/compose.yaml`).
#
# On a fresh machine: a checkout of the repository and `pip install -e ".[serving]"` in it.

# %%
import os
import pathlib
import subprocess
import sys

import keras
import matplotlib.pyplot as plt
import numpy as np

import tfzoo
from tfzoo import pictures

EPOCHS = int(os.environ.get("EPOCHS", "40"))
ROOT = pathlib.Path(tfzoo.__file__).parents[1]
keras.utils.set_random_seed(0)

# %% [markdown]
# ## Train and export
#
# A version is a folder whose name is a number. (`python -m export` adds warm-up requests, a manifest and a verification
# in a fresh process.)

# %%
model = tfzoo.create_model("vae", event_shape=(8, 8, 1), latent_dim=8, seed=0)
model.compile(optimizer=keras.optimizers.Adam(2e-3))
model.fit(tfzoo.data.load("digits", "train", batch_size=50), epochs=EPOCHS, verbose=0)
model.export("exports/vae_digits/1", num_samples=16, num_points=8)

# %% [markdown]
# ## Serve
#
# The server is a process of its own, on this machine only. Ports of 0 are any free ones; the last line that it prints
# says which.

# %%
command = [sys.executable, "-m", "serving", "dev", str(pathlib.Path("exports").absolute())]
with open("server.log", "w") as log:  # noqa: PTH123
    server = subprocess.Popen(
        [*command, "--rest_api_port", "0", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
    )
for line in server.stdout:
    print(line, end="")
    if line.startswith("Listening: "):
        rest, grpc = line.split()[1:]
        break

# %% [markdown]
# ## Ask
#
# The client needs NumPy and grpcio (or requests). The same seed gives the same images, and each image has a seed of its
# own: three of them are the first three of eight.

# %%
sys.path.insert(0, str(ROOT))
from serving.client import Client, ServingError

client = Client(grpc)
print(client.status("vae_digits"))
samples = client.sample("vae_digits", 8, seed=1)
np.testing.assert_array_equal(client.sample("vae_digits", 3, seed=1), samples[:3])

images = np.asarray(next(iter(tfzoo.data.load("digits", "test", batch_size=8, shuffle=False)))["image"])
walk = client.interpolate("vae_digits", images[:1], images[1:2])[0]
rows = np.concatenate([images, client.reconstruct("vae_digits", images), samples, walk])
plt.figure(figsize=(6, 3))
plt.imshow(pictures.grid(rows, columns=8), cmap="gray")
plt.axis("off")
plt.title("images, reconstructions, samples, from the first image to the second")
plt.show()

# %% [markdown]
# log p(x) of digits, and of digits upside down:

# %%
for name, batch in (("digits", images), ("upside down", images[:, ::-1])):
    print(f"{name:>12}: log p(x) = {client.log_prob('vae_digits', batch).mean():.1f} nats")

# %% [markdown]
# REST gives the same numbers, and mistakes are answered in the server's words.

# %%
with Client(rest) as over_rest:
    np.testing.assert_allclose(over_rest.sample("vae_digits", 8, seed=1), samples, rtol=1e-5)
    try:
        over_rest.decode("vae_digits", np.zeros([1, 99]))
    except ServingError as error:
        print(error)

# %%
client.close()
server.terminate()
print("the server ended with", server.wait(timeout=60))
