"""Any trainable TFP distribution as a Keras layer that knows all of its variables.

Keras 3 does not see the variables inside a `tfd.Distribution` or a `tfb.Bijector`: used as they are, a flow stays
untrained by `fit`, and a `.keras` file restores it with other weights, both without a word. (A Keras 3 model sees two
of the eight trainable variables of a flow built on `tfb.AutoregressiveNetwork`, and none of a `RealNVP`'s default
template.) `TrackedDistribution` finds the variables by watching them being made, and registers each with Keras.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from tensorflow_probability import distributions as tfd

__all__ = ["TrackedDistribution"]


class _AdoptedVariable(keras.Variable):
    """A Keras variable around an existing `tf.Variable`, which stays the one that TFP's object computes with."""

    def __init__(self, variable: tf.Variable, name: str) -> None:
        self._adopted = variable
        # Keras makes names of weights with it, and refuses slashes.
        super().__init__(
            variable,
            # A tf_keras network's counters of batches say that they are trainable.
            trainable=variable.trainable and variable.dtype.is_floating,
            dtype=variable.dtype.name,
            name=name,
        )

    def _initialize(self, value: object) -> None:
        self._value = self._adopted


def _forget(distribution: tfd.Distribution) -> None:
    """Makes `distribution.log_prob` compute anew for every call.

    TFP's bijectors remember by a tensor's identity what they computed last, whatever has become of their variables
    since: log p of a sample would stay what it was after a training step, and lose the gradient through the flow.
    """
    log_prob = distribution._log_prob
    distribution._log_prob = lambda value, **kwargs: log_prob(tf.identity(value), **kwargs)


@keras.saving.register_keras_serializable("tfzoo")
class TrackedDistribution(keras.layers.Layer):
    """A distribution made by `factory`, with every variable in it tracked, trained, saved and restored by Keras.

    Use it as a model's prior::

        @keras.saving.register_keras_serializable("my_package")
        def flow(latent_dim):
            network = tfb.AutoregressiveNetwork(params=2, hidden_units=[64, 64], activation="relu")
            return tfd.TransformedDistribution(
                tfd.Sample(tfd.Normal(0.0, 1.0), latent_dim), tfb.MaskedAutoregressiveFlow(network)
            )

        prior = tfzoo.distributions.TrackedDistribution(flow, {"latent_dim": 16})
        model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=16, prior=prior)

    Args:
      factory: returns the distribution, batch ``[]``, event ``[D]``. Register it with
        `keras.saving.register_keras_serializable`, so that a saved model can find it.
      factory_kwargs: the factory's arguments, JSON values.

    Raises:
      ValueError: if the distribution has a batch, or is not over vectors.
    """

    def __init__(
        self, factory: Callable[..., tfd.Distribution], factory_kwargs: dict | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._distribution: Callable[[], tfd.Distribution] | None = None
        self.factory = factory
        self.factory_kwargs = dict(factory_kwargs or {})
        self.build()

    def build(self, input_shape: object = None) -> None:
        if self._distribution is not None:
            return
        found: list[tf.Variable] = []

        def watch(next_creator: Callable, **kwargs: Any) -> tf.Variable:
            found.append(next_creator(**kwargs))
            return found[-1]

        with tf.init_scope(), tf.variable_creator_scope(watch):
            distribution = self.factory(**self.factory_kwargs)
            shapes = distribution.batch_shape, distribution.event_shape
            if [getattr(shape, "rank", None) for shape in shapes] != [0, 1]:  # a joint distribution's are lists
                raise ValueError(
                    "a prior must have batch shape [] and event shape [D]. "
                    f"Received: batch shape {distribution.batch_shape}, event shape {distribution.event_shape}"
                )
            # Templates and networks make their variables at first use; the inverse direction of a flow may own more.
            distribution.log_prob(tf.zeros([1, *distribution.event_shape], distribution.dtype))
            distribution.sample(1, seed=[0, 0])
        # A factory may also close over variables that were made before it was called.
        known = {id(variable) for variable in found}
        found += [variable for variable in distribution.variables if id(variable) not in known]
        for i, variable in enumerate(found):
            adopted = _AdoptedVariable(variable, f"variable_{i}")
            (self._trainable_variables if adopted.trainable else self._non_trainable_variables).append(adopted)
        _forget(distribution)
        # In a closure, for Keras would try to track an attribute that is a tf.Module.
        self._distribution = lambda: distribution
        self.built = True

    @property
    def latent_dim(self) -> int:
        """D."""
        return self.distribution().event_shape[-1]

    def distribution(self) -> tfd.Distribution:
        """Returns the distribution, batch ``[]``, event ``[D]``."""
        assert self._distribution is not None
        return self._distribution()

    def get_config(self) -> dict:
        factory = keras.saving.serialize_keras_object(self.factory)
        return {**super().get_config(), "factory": factory, "factory_kwargs": self.factory_kwargs}

    @classmethod
    def from_config(cls, config: dict) -> "TrackedDistribution":
        config = dict(config)
        config["factory"] = keras.saving.deserialize_keras_object(config["factory"])
        return cls(**config)
