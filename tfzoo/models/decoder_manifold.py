"""Models whose decoder makes a manifold of latent space: a mean and a scale for each pixel, and geodesics by them.

    x ~ N(mean(z), scale(z)^2),    G(z) = J_mean' J_mean + J_scale' J_scale + 1e-6

The scale is small near the codes and large elsewhere (`tfzoo.networks.rbf`), so that what crosses a region without data
is long. The last term keeps the metric regular where the decoder is flat. Far from the data, where G is huge, it is
less than the rounding of float32: volumes and Brownian motions take G + 1e-5 (1 + trace(G)), which has a Cholesky
factor everywhere. Distances do without. So where the decoder is flat along one direction only, log p(z) is too high, by
half the logarithm of the ratio of both in that direction.

References:
  Arvanitidis, Hansen, Hauberg, "Latent Space Oddity: on the Curvature of Deep Generative Models",
    https://arxiv.org/abs/1710.11379
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from tfzoo.checks import check_positive, check_positive_number, check_whole
from tfzoo.compiled import Compiled
from tfzoo.geometry import geodesic
from tfzoo.models.amortised import AmortisedModel
from tfzoo.networks.rbf import RBFScale
from tfzoo.types import Tensor, TensorLike

__all__ = ["JITTER", "DecoderManifold"]

JITTER = 1e-5  # of the metric of volumes and motions
_FLAT = 1e-6  # the metric where the decoder is flat
_BLOCK = 128  # geodesics whose energies are evaluated at once
_SHOWN = 64  # points of a geodesic that is looked at


class DecoderManifold(AmortisedModel):
    """Base class of models with a geometry of latent space, by their decoder.

    Args:
      unit: the unit of the network's scale; None learns it.
      event_shape: the shape of one example.
      likelihood: "gaussian", or "bernoulli", whose manifold is that of the probabilities.
      scale: of the Gaussian; None is the network of radial basis functions, a number is constant.
      num_centres: of the network.
      beta: of the network, see `tfzoo.networks.rbf`; None takes 1 / D, right for codes that are about N(0, I).
      num_nodes: of the splines by which distances are found; energies are measured at 3 points for each, and an end.
      **kwargs: see `tfzoo.models.amortised.AmortisedModel`.

    Raises:
      ValueError: if an argument is out of its range.
    """

    def __init__(
        self,
        unit: float | None,
        *,
        event_shape: tuple[int, ...],
        likelihood: str = "gaussian",
        scale: float | None = None,
        num_centres: int = 350,
        beta: float | None = None,
        num_nodes: int = 5,
        **kwargs: Any,
    ) -> None:
        has_network = likelihood == "gaussian" and scale is None
        single = unit if has_network else scale
        super().__init__(event_shape=event_shape, likelihood=likelihood, scale=single, **kwargs)
        self.num_nodes = check_whole("num_nodes", num_nodes, 2)  # the ends of a curve
        self.num_centres = check_positive("num_centres", num_centres)
        self.beta = None if beta is None else check_positive_number("beta", beta)
        self._scale = None if scale is None else check_positive_number("scale", scale)
        self.scale_network: RBFScale | None = None
        if has_network:
            self.scale_network = RBFScale(
                self.event_shape,
                num_centres=self.num_centres,
                beta=1.0 / self.latent_dim if self.beta is None else self.beta,
                dtype=self.variable_dtype,
                name="scale",
            )
            self.scale_network.build((None, self.latent_dim))
            self.scale_network.built = True
        self._compiled_geodesic = Compiled(self._geodesic)

    def embedding(self, z: Tensor) -> tuple[Tensor, ...]:
        """Returns what the manifold is the image of: mean and scale ``[N, *event_shape]``, and z / 1000.

        Args:
          z: ``[N, D]``.
        """
        outputs, rest = self._decoder_outputs(z), math.sqrt(_FLAT) * z
        if self._likelihood == "bernoulli":
            return tf.sigmoid(outputs), rest
        return (outputs, rest) if self.scale_network is None else (outputs, self._scale_at(z), rest)

    def likelihood(self, z: TensorLike) -> tfd.Distribution:
        """Returns p(x|z), batch ``[...]``, event `event_shape`, for latents ``[..., D]``."""
        likelihood = super().likelihood(z)
        if self.scale_network is None:
            return likelihood
        mean = likelihood.mean()
        return tfd.Independent(tfd.Normal(mean, self._scale_at(tf.cast(z, mean.dtype))), len(self.event_shape))

    def _log_likelihood(self, x: Tensor, z: Tensor, training: bool = False, mask: Tensor | None = None) -> Tensor:
        if self.scale_network is None:
            return super()._log_likelihood(x, z, training, mask)
        return self._log_normal(x, self._decoder_outputs(z, training), self._scale_at(z), mask)

    def _log_normal(self, x: Tensor, mean: Tensor, scale: Tensor, mask: Tensor | None = None) -> Tensor:
        log_probs = -0.5 * tf.square((x - mean) / scale) - tf.math.log(scale) - 0.5 * math.log(2.0 * math.pi)
        log_probs = log_probs if mask is None else log_probs * mask
        return tf.reduce_sum(log_probs, axis=list(range(-len(self.event_shape), 0)))

    def _scale_at(self, z: Tensor) -> Tensor:
        """Returns the scale ``[..., *event_shape]`` at ``[..., D]``."""
        assert self.scale_network is not None
        scale = self._unit(z.dtype) * self.scale_network(tf.reshape(z, [-1, self.latent_dim]))
        return tf.reshape(scale, tf.concat([tf.shape(z)[:-1], self.event_shape], 0))

    def _unit(self, dtype: tf.DType) -> Tensor:
        """Returns the unit of the network's scale, ``[]``."""
        return self.likelihood_layer.distribution(tf.zeros([], dtype), ()).stddev()

    def _fit_scale(self, codes: np.ndarray, *, to_unit: bool) -> None:
        """Sets the centres of the scale by codes ``[N, D]``, and makes it about 1 unit there, with equal weights."""
        if self.scale_network is None:
            return
        self.scale_network.fit_centres(codes, seed=self.seed or 0)
        if to_unit:
            weights = self.scale_network.raw_weights
            weights.assign(np.full(weights.shape, _inverse_softplus(1.0)))
            precision = float(tf.reduce_mean(self.scale_network.precision(tf.constant(codes[:500]))))
            weights.assign(np.full(weights.shape, _inverse_softplus(1.0 / precision)))

    # === Geodesics ===

    def _squared_distance(self, start: Tensor, z: Tensor) -> Tensor:
        return geodesic.squared_distance(
            self.embedding,
            start,
            z,
            num_nodes=self.num_nodes,
            num_points=3 * self.num_nodes + 1,
            max_iterations=30,
            block_size=_BLOCK,
        )

    def _codes_between(self, z0: Tensor, z1: Tensor, num_points: int) -> Tensor:
        """Returns codes along the geodesic, ``[B, num_points, D]``, at equal distances of each other."""
        curve = self._compiled_geodesic(z0, z1)  # [B, _SHOWN, D]
        places = tf.linspace(tf.zeros([], z0.dtype), tf.cast(_SHOWN - 1, z0.dtype), num_points)
        before = tf.minimum(tf.cast(places, tf.int32), _SHOWN - 2)
        weights = (places - tf.cast(before, z0.dtype))[:, tf.newaxis]
        return (1.0 - weights) * tf.gather(curve, before, axis=1) + weights * tf.gather(curve, before + 1, axis=1)

    def _geodesic(self, z0: Tensor, z1: Tensor) -> Tensor:
        return geodesic.solve(self.embedding, z0, z1, num_points=_SHOWN).points

    def get_config(self) -> dict:
        own = {"num_centres": self.num_centres, "beta": self.beta, "num_nodes": self.num_nodes}
        return {**super().get_config(), **own, "scale": self._scale}


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))
