"""tfzoo: deep latent-variable models whose inference is a flow, in TensorFlow and Keras.

model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=64)
model.compile(optimizer=keras.optimizers.Adamax(5e-4))
model.fit(tfzoo.data.load("mnist", "train", batch_size=100, binarize="dynamic"), epochs=10)
model.sample(16), model.log_prob(images), model.export("served")
"""

import keras as _keras

if _keras.backend.backend() != "tensorflow":
    raise ImportError(
        'tfzoo runs on Keras\'s TensorFlow backend: set KERAS_BACKEND="tensorflow" before the first import of keras. '
        f"Received: {_keras.backend.backend()!r}"
    )

from tfzoo import (
    bijectors,
    callbacks,
    data,
    distributions,
    geometry,
    integrators,
    metrics,
    models,
    networks,
    objectives,
    optimizers,
    random,
    transport,
    types,
)
from tfzoo.registry import create_model, list_models, list_presets
from tfzoo.version import __version__

__all__ = [
    "__version__",
    "bijectors",
    "callbacks",
    "create_model",
    "data",
    "distributions",
    "geometry",
    "integrators",
    "list_models",
    "list_presets",
    "metrics",
    "models",
    "networks",
    "objectives",
    "optimizers",
    "random",
    "transport",
    "types",
]
