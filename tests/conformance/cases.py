"""The models that keep the promises: a new model adds one line to `OPTIONS` or `MCMC_OPTIONS`."""

import dataclasses
import math
from typing import Any

import keras
import numpy as np
from keras import layers

import tfzoo

# Small, so that a promise is checked in a second or two.
OPTIONS: dict[str, dict[str, Any]] = {
    "hamiltonian_vae": {"num_steps": 2, "second_order": False},  # the Langevin VAE has the exact gradient
    "iaf_vae": {"num_steps": 2, "hidden_units": (8,), "context_dim": 4},
    "iwae": {"num_samples": 3, "prior": "vamp"},
    "langevin_vae": {"num_steps": 2},
    "latent_flow_vae": {
        "num_steps": 1,
        "hidden_units": (8,),
        "context_dim": 4,
        "flow_steps": 1,
        "flow_width": 16,
        "flow": "real_nvp",
    },
    "pcp_map_vae": {"hidden_units": (8,), "context_dim": 4},
    # All weights at once, as in the second stage: two stages are tried in test_models_riemannian_vae.py.
    "riemannian_vae": {"first_stage_epochs": 0, "num_centres": 8, "num_nodes": 2, "num_brownian_steps": 2},
    "vae": {},
}
# Of models without an encoder; Bernoulli, as the others are.
MCMC_OPTIONS: dict[str, dict[str, Any]] = {
    "abp": {"chain": "noise", "inference": "short_run", "step_size": 0.1},
    "latent_ebm": {"prior_num_steps": 2},
    "latent_flow": {"inference": "short_run", "flow_steps": 1, "flow_width": 16, "flow": "real_nvp"},
    "short_run_ot": {"step_size": 0.1},
}
for _name in ("latent_flow_vae", "riemannian_vae"):
    OPTIONS[_name]["likelihood"] = "bernoulli"
for _options in MCMC_OPTIONS.values():
    # One temperature: annealing itself is tried elsewhere, and its graph is large.
    _options.update(likelihood="bernoulli", num_steps=2, num_annealing_steps=1)
ALL_OPTIONS = {**OPTIONS, **MCMC_OPTIONS}

# Models that read their input as another one does; what is wrong with it is tried on that one.
LIKE_ANOTHER = {"latent_ebm", "latent_flow", "latent_flow_vae", "riemannian_vae"}

# What is tried of some models with --runslow only: of one whose training step is a large graph, and of those that
# differ from another (vae, langevin_vae, iaf_vae, abp) in a part that such a promise is not about. Their exports, XLA,
# files and own tests try the part.
_LARGE, _RELATED = {"riemannian_vae"}, {"hamiltonian_vae", "iwae", "pcp_map_vae", "short_run_ot"}
SLOW = {
    "test_a_users_function_of_unknown_batch_traces_once_and_agrees_with_eager": _LARGE | _RELATED,
    "test_float64_from_end_to_end": _LARGE | _RELATED,
    "test_mixed_precision_trains_with_float32_densities": _LARGE | _RELATED,
    "test_the_same_loss_and_update_as_one_replica": _LARGE | _RELATED - {"short_run_ot"},  # its correction is of all
    "test_the_same_losses_and_updates_with_and_without": _LARGE,
}

# Methods that only a model with an encoder has.
AMORTISED_METHODS = {"elbo", "base_posterior"}

SHAPES = {"image": (6, 6, 1), "vector": (5,)}

# Overrides that ask for the networks which a user who brings none has.
DEFAULT_NETWORKS = {"encoder": None, "decoder": None}


def small_networks(event_shape, latent_dim, dtype=None):
    """Returns an encoder and a decoder of one layer each: a graph's nodes are what a test's time goes into."""
    encoder = [keras.Input(event_shape), layers.Flatten(dtype=dtype), layers.Dense(4, "tanh", dtype=dtype)]
    decoder = [keras.Input((latent_dim,)), layers.Dense(math.prod(event_shape), dtype=dtype)]
    decoder.append(layers.Reshape(event_shape, dtype=dtype))
    return {"encoder": keras.Sequential(encoder, name="encoder"), "decoder": keras.Sequential(decoder, name="decoder")}


@dataclasses.dataclass(frozen=True)
class Case:
    """A model on a shape of example."""

    name: str
    shape: str

    @property
    def event_shape(self):
        return SHAPES[self.shape]

    @property
    def latent_dim(self):
        return 2

    def model(self, **overrides):
        """Returns a new model: of images with small networks, of vectors with the default ones."""
        options = {"latent_dim": self.latent_dim, "seed": 1, **ALL_OPTIONS[self.name], **overrides}
        if self.shape == "image" and not {"encoder", "decoder"} & set(overrides):
            options |= small_networks(self.event_shape, self.latent_dim, options.get("dtype"))
        if not self.amortised:
            options.pop("encoder", None)
        return tfzoo.create_model(self.name, event_shape=self.event_shape, **options)

    def compiled(self, learning_rate=1e-3, jit_compile=False, optimizer="sgd", **overrides):
        """Returns a new model, compiled with an optimizer that has few operations."""
        model = self.model(**overrides)
        model.compile(optimizer=optimizer, jit_compile=jit_compile)
        model.optimizer.learning_rate = learning_rate
        return model

    def images(self, count, seed=0):
        """Returns grey images ``float32 [count, *event_shape]``: smooth functions of two numbers, so no mere noise."""
        rng = np.random.default_rng(seed)
        size = math.prod(self.event_shape)
        waves = rng.normal(size=(count, 2)) @ rng.normal(size=(2, size))
        return (0.5 + 0.45 * np.tanh(waves)).reshape(count, *self.event_shape).astype(np.float32)

    def data(self, count, seed=0):
        """Returns these images with what `fit` of any model may need."""
        return {"image": self.images(count, seed), "index": np.arange(count, dtype=np.int32)}

    @property
    def amortised(self):
        """Whether the model has an encoder, and with it a bound."""
        return self.name in OPTIONS

    def __str__(self):
        return f"{self.name}-{self.shape}"


IMAGE_CASES = [Case(name, "image") for name in ALL_OPTIONS]
AMORTISED_CASES = [case for case in IMAGE_CASES if case.amortised]
# The shape of an example changes the networks, and these are the same for every model.
CASES = [*IMAGE_CASES, Case("vae", "vector")]
# What `fit` makes of data, networks and faults depends on how a loss is made of the bound: one model for each way.
TRAINING_CASES = [Case("vae", "image"), Case("langevin_vae", "image")]
