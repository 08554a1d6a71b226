"""A second optimizer for the weights of the prior.

A prior learns from the codes that a generator's images leave, at a pace of its own. `compile` takes an optimizer for it
beside the one for all other weights; without it, one optimizer has all weights, as ever. Both take their step from the
same gradient, at the same place.
"""

from typing import Any

import keras
import tensorflow as tf

from tfzoo.models.replicas import num_replicas
from tfzoo.types import Tensor

__all__ = ["PriorOptimizer"]


class PriorOptimizer(keras.Model):
    """A `keras.Model` with a `prior_layer`, whose weights may have an optimizer of their own."""

    prior_layer: keras.layers.Layer
    prior_optimizer: Any = None

    def compile(self, optimizer: Any = "rmsprop", *args: Any, prior_optimizer: Any = None, **kwargs: Any) -> None:
        """Configures training as `keras.Model.compile`.

        Args:
          optimizer: of all weights, but for the prior's where these have their own.
          *args: as in Keras.
          prior_optimizer: of the prior's weights; None leaves them to `optimizer`.
          **kwargs: as in Keras.

        Raises:
          ValueError: for a `prior_optimizer` where the prior has no weights, or one that averages weights.
        """
        super().compile(optimizer, *args, **kwargs)
        self.prior_optimizer = None
        if prior_optimizer is None:
            return
        if not self.prior_layer.weights:  # which may be frozen, for now
            name = type(self.prior_layer).__name__
            raise ValueError(f"prior_optimizer needs a prior with weights to learn. Received: {name}")
        prior_optimizer = keras.optimizers.get(prior_optimizer)
        if prior_optimizer.use_ema or self.optimizer.use_ema:
            raise ValueError("prior_optimizer goes with optimizers that average no weights. Received: use_ema=True")
        self.prior_optimizer = prior_optimizer
        # Now, for each knows its weights only so: whoever restores a state builds `optimizer` for all weights else.
        with self.distribute_strategy.scope():
            for each, weights in zip((self.optimizer, prior_optimizer), self._split(), strict=True):
                each.build(weights)

    def make_train_function(self, force: bool = False) -> None:
        """Makes the training step as Keras does, and before it the weights of an optimizer that has none.

        A step that makes them as it is traced is traced again, and takes twice as long to start.
        """
        if self.optimizer is not None and not self.optimizer.built and self.trainable_variables:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)
        super().make_train_function(force)

    def get_compile_config(self) -> dict:
        """Returns what `compile` was given, serialised, with both optimizers."""
        config = super().get_compile_config()
        if self.prior_optimizer is None:
            return config
        return {**config, "prior_optimizer": keras.saving.serialize_keras_object(self.prior_optimizer)}

    def compile_from_config(self, config: dict) -> None:
        """Compiles as `get_compile_config` says, with optimizers that can take their saved state."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_weights)

    def _split(self) -> tuple[list[Any], list[Any]]:
        """Returns the trainable weights of the others, and of the prior; what is frozen has none."""
        of_prior = {id(weight) for weight in self.prior_layer.weights}
        weights = self.trainable_weights
        return [w for w in weights if id(w) not in of_prior], [w for w in weights if id(w) in of_prior]

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Takes a step of both optimizers, or of the one whose weights are not frozen; with one, it is Keras's own."""
        if self.prior_optimizer is None or not self.trainable_weights:
            return super().train_step(data)
        pairs = zip((self.optimizer, self.prior_optimizer), self._split(), strict=True)
        optimizers, weights = zip(*[(each, own) for each, own in pairs if own], strict=True)
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(x, y, y_pred, sample_weight, training=True)
            # As Keras does: the loss of the whole batch in the logs, in the gradient that of a replica's part.
            whole = loss * num_replicas()
            self._loss_tracker.update_state(whole, sample_weight=tf.shape(tf.nest.flatten(x)[0])[0])
            scaled = optimizers[0].scale_loss(loss)
        gradients = tape.gradient(scaled, list(weights))
        # In mixed precision the first optimizer scales the loss, and undoes it; the second has to be told.
        one = tf.ones([], loss.dtype)
        rescale = optimizers[-1].scale_loss(one) / optimizers[0].scale_loss(one)
        gradients[-1] = [None if each is None else each * tf.cast(rescale, each.dtype) for each in gradients[-1]]
        for optimizer, each, own in zip(optimizers, gradients, weights, strict=True):
            optimizer.apply_gradients(zip(each, own, strict=True))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
