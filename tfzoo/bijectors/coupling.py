"""Coupling flows, RealNVP's and Glow's: density and samples are equally cheap.

One step, in the direction of the density (latents to base), as the papers write it:

    z = actnorm(z)                                    Glow
    z = W z  or  z reversed                           Glow, RealNVP
    z = [z1, t(z2; f(z1, context))]                   z1 the first D // 2 numbers, f a network, t increasing in z2

References:
  Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", https://arxiv.org/abs/1605.08803
  Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039
  Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", https://arxiv.org/abs/1906.04032
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfzoo.bijectors import elementwise
from tfzoo.bijectors.actnorm import ActNorm
from tfzoo.bijectors.conditioner import Conditioner
from tfzoo.bijectors.flow import Flow
from tfzoo.bijectors.flow_chain import FlowChain
from tfzoo.bijectors.mixing import LUMixing, Reverse
from tfzoo.checks import check_choice, check_number, check_positive, check_positive_number, check_whole, check_widths
from tfzoo.types import Tensor, TensorLike

__all__ = ["Coupling", "CouplingFlow"]

_MIXINGS = ("reverse", "lu")
_TRANSFORMATIONS = ("affine", "sigmoid_affine", "spline")


class Coupling(Flow):
    """One coupling: the first D // 2 numbers pass, and say with the context what happens to each of the others.

    With D = 1 none passes, and the context alone says it; without a context either, the parameters are free.

    Args:
      latent_dim: D.
      transformation: what happens to each number.
      hidden_units: of the conditioner, as are the next two.
      activation: of its hidden layers.
      actnorm: whether it is Glow's.
      initial_noise: see `CouplingFlow`.
    """

    def __init__(
        self,
        latent_dim: int,
        transformation: elementwise.Elementwise,
        *,
        hidden_units: Sequence[int],
        activation: Callable,
        actnorm: bool = False,
        initial_noise: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.num_passing = latent_dim // 2
        self.num_moved = latent_dim - self.num_passing
        self.transformation = transformation
        self.conditioner = Conditioner(
            self.num_passing,
            self.num_moved * transformation.num_parameters,
            hidden_units=hidden_units,
            activation=activation,
            actnorm=actnorm,
            initial_noise=initial_noise,
            dtype=self.variable_dtype,
            name="conditioner",
        )

    def _make_weights(self, context_dim: int | None) -> None:
        self.conditioner.build(None if context_dim is None else (None, context_dim))

    def initialize(self, z: TensorLike, context: TensorLike | None = None) -> None:
        """Sets the conditioner's ActNorms by a batch `z` ``[..., B, D]``; see `CouplingFlow.initialize`."""
        context = self._as_context(context)
        z = tf.convert_to_tensor(z, self.variable_dtype)
        self.conditioner.initialize(z[..., : self.num_passing], context)

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        passing, moved = z[..., : self.num_passing], z[..., self.num_passing :]
        moved, log_slopes = self.transformation.forward(moved, self._parameters(passing, context))
        return _join(passing, moved), tf.reduce_sum(log_slopes, axis=-1)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        passing, moved = y[..., : self.num_passing], y[..., self.num_passing :]
        return _join(passing, self.transformation.inverse(moved, self._parameters(passing, context)))

    def _inverse_and_log_det(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        passing, moved = y[..., : self.num_passing], y[..., self.num_passing :]
        moved, log_slopes = self.transformation.inverse_and_log_slope(moved, self._parameters(passing, context))
        return _join(passing, moved), tf.reduce_sum(log_slopes, axis=-1)

    def _parameters(self, passing: Tensor, context: Tensor | None) -> Tensor:
        """Returns the parameters, ``[..., M, n]``."""
        flat = self.conditioner.parameters(passing, context)
        sizes = [self.num_moved, self.transformation.num_parameters]
        return tf.reshape(flat, tf.concat([tf.shape(flat)[:-1], sizes], axis=0))


def _join(passing: Tensor, moved: Tensor) -> Tensor:
    # The context may have given the moved half more leading dimensions.
    return tf.concat([passing + tf.zeros_like(moved[..., :1]), moved], axis=-1)


@keras.saving.register_keras_serializable("tfzoo")
class CouplingFlow(Flow):
    """Coupling steps with networks of the context and of half of the numbers.

    RealNVP is the default; Glow with fully connected networks, and neural spline flows, are a setting away::

        CouplingFlow(16)
        CouplingFlow(16, actnorm=True, mixing="lu", transformation="sigmoid_affine", activation="relu")
        CouplingFlow(16, actnorm=True, mixing="lu", transformation="spline")

    It starts near the identity, but for the orthogonal matrices of ``mixing="lu"`` (pass
    ``mixing_initializer="identity"`` where the base is not isotropic) and "sigmoid_affine"'s scale of 0.88. Either
    direction costs one pass through the networks.

    Args:
      latent_dim: D, also 1, where only the context says what to do, and 2.
      num_steps: steps, at least 1; with ``mixing="reverse"`` it takes two until each number is transformed.
      hidden_units: widths of the hidden layers of each step's network, at least one.
      transformation: of each number: "affine" with log(scale) within 2 (RealNVP), "sigmoid_affine" with a scale of
        sigmoid(s + 2) (Glow), or "spline", rational-quadratic within [-bound, bound] and the identity outside.
      actnorm: whether steps have an ActNorm, and their networks' hidden layers too, as in Glow. See `initialize`.
      mixing: after couplings: "reverse" for the opposite order (but for the last of an odd number of steps, so that
        the latents keep the base's order), "lu" for a learned invertible matrix.
      mixing_initializer: of that matrix, a Keras initializer; one with a seed gives all steps the same.
      activation: of the hidden layers.
      initial_noise: deviation of the normal noise that the kernels of the hidden layers, and ActNorms, start with; 0
        starts the kernels as Keras does, and ActNorms at the identity.
      num_bins: pieces of the spline, at least 2.
      bound: of the spline, positive.
      **kwargs: of `keras.layers.Layer`: `name`, `dtype`.

    Raises:
      ValueError: if an argument is none of these.

    References:
      Dinh, Sohl-Dickstein, Bengio, "Density estimation using Real NVP", https://arxiv.org/abs/1605.08803
      Kingma, Dhariwal, "Glow: Generative Flow with Invertible 1x1 Convolutions", https://arxiv.org/abs/1807.03039
      Durkan, Bekasov, Murray, Papamakarios, "Neural Spline Flows", https://arxiv.org/abs/1906.04032
    """

    def __init__(
        self,
        latent_dim: int,
        *,
        num_steps: int = 4,
        hidden_units: Sequence[int] = (64, 64),
        transformation: str = "affine",
        actnorm: bool = False,
        mixing: str = "reverse",
        mixing_initializer: str | Callable = "orthogonal",
        activation: str | Callable = "silu",
        initial_noise: float = 0.0,
        num_bins: int = 8,
        bound: float = 4.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim, **kwargs)
        self.num_steps = check_positive("num_steps", num_steps)
        self.hidden_units = list(check_widths("hidden_units", hidden_units))
        self.transformation = check_choice("transformation", transformation, _TRANSFORMATIONS)
        self.actnorm = actnorm
        self.mixing = check_choice("mixing", mixing, _MIXINGS)
        self.initial_noise = check_number("initial_noise", initial_noise, 0)
        self.mixing_initializer = keras.initializers.get(mixing_initializer)
        self.activation = keras.activations.get(activation)
        self.num_bins = check_whole("num_bins", num_bins, 2)
        self.bound = check_positive_number("bound", bound)
        self.chain = FlowChain([flow for k in range(self.num_steps) for flow in self._step(k)])

    def _step(self, k: int) -> list[Flow]:
        """Returns the parts of step k, base to latents."""
        size, dtype = self.latent_dim, self.variable_dtype
        transformations = {"affine": elementwise.Affine, "sigmoid_affine": elementwise.SigmoidAffine}
        if self.transformation == "spline":
            transformation: elementwise.Elementwise = elementwise.Spline(self.num_bins, self.bound)
        else:
            transformation = transformations[self.transformation]()
        coupling = Coupling(
            size,
            transformation,
            hidden_units=self.hidden_units,
            activation=self.activation,
            actnorm=self.actnorm,
            initial_noise=self.initial_noise,
            dtype=dtype,
        )
        if self.mixing == "lu":
            start = self.mixing_initializer
            # Keras's random initializers give the same each time: without a seed, a copy gives others.
            start = start.clone() if isinstance(start, keras.initializers.Initializer) else start
            mixing: list[Flow] = [LUMixing(size, initializer=start, dtype=dtype)]
        else:
            # An even number of them: the latents come in the order of the base.
            last_of_odd = self.num_steps % 2 == 1 and k == self.num_steps - 1
            mixing = [] if last_of_odd else [Reverse(size, dtype=dtype)]
        norms = [ActNorm(size, initial_noise=self.initial_noise, dtype=dtype)] if self.actnorm else []
        return [coupling, *mixing, *norms]

    def _make_weights(self, context_dim: int | None) -> None:
        self.chain.build(None if context_dim is None else (None, context_dim))

    def initialize(self, z: TensorLike, context: TensorLike | None = None) -> None:
        """Sets every ActNorm so that it gives a batch mean 0 and variance 1, step by step from the latents to the base.

        For use before training, in eager code or in a `tf.function`; without `actnorm` nothing changes.

        Args:
          z: latents ``[..., B, D]``, such as the distribution is to have.
          context: as in `bijector`.

        Raises:
          ValueError: if `z` is of another shape, or the context wrong.
        """
        self.chain.initialize(z, self._as_context(context))

    def _forward(self, z: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.chain._forward(z, context)

    def _inverse(self, y: Tensor, context: Tensor | None) -> Tensor:
        return self.chain._inverse(y, context)

    def _inverse_and_log_det(self, y: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.chain._inverse_and_log_det(y, context)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "num_steps": self.num_steps,
            "hidden_units": self.hidden_units,
            "transformation": self.transformation,
            "actnorm": self.actnorm,
            "mixing": self.mixing,
            "mixing_initializer": keras.initializers.serialize(self.mixing_initializer),
            "activation": keras.activations.serialize(self.activation),
            "initial_noise": self.initial_noise,
            "num_bins": self.num_bins,
            "bound": self.bound,
        }
