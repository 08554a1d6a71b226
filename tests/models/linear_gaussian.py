"""Models with linear networks and Gaussian noise: probabilistic PCA, where all is known.

z ~ N(0, I),  x = W z + b + noise N(0, scale^2)
p(x) = N(b, W W' + scale^2 I),   p(z|x) = N(M W' (x - b) / scale^2, M),  M = (I + W'W / scale^2)^-1
"""

import keras
import numpy as np
from scipy import stats

import tfzoo

N, D, SCALE = 6, 2, 0.6
RNG = np.random.default_rng(11)
W = RNG.normal(size=(N, D))
OFFSET = RNG.normal(size=N)
COVARIANCE = W @ W.T + SCALE**2 * np.eye(N)
POSTERIOR_COVARIANCE = np.linalg.inv(np.eye(D) + W.T @ W / SCALE**2)


def posterior_mean(x):
    return (x - OFFSET) @ W @ POSTERIOR_COVARIANCE / SCALE**2


def simulate(count, seed=0):
    """Returns latents and the data made from them: each z is an exact sample of p(z|x)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, D))
    return z, z @ W.T + OFFSET + SCALE * rng.normal(size=(count, N))


def exact_log_prob(x):
    return stats.multivariate_normal(OFFSET, COVARIANCE).logpdf(x)


def model_of(name="vae", *, shift=0.0, widen=1.3, dtype="float64", **options):
    """Returns a model with the exact decoder, and a posterior whose mean is off by `shift` and whose scale is wider."""
    encoder, decoder = keras.layers.Dense(D, dtype=dtype), keras.layers.Dense(N, dtype=dtype)
    model = tfzoo.create_model(
        name,
        event_shape=(N,),
        latent_dim=D,
        likelihood="gaussian",
        scale=SCALE,
        encoder=encoder,
        decoder=decoder,
        dtype=dtype,
        **options,
    )
    decoder.set_weights([W.T, OFFSET])
    kernel = W @ POSTERIOR_COVARIANCE / SCALE**2
    encoder.set_weights([kernel, -OFFSET @ kernel])
    gaussian = getattr(model.posterior_layer, "gaussian", model.posterior_layer)  # a flow's base
    gaussian.loc.set_weights([np.eye(D), np.full(D, shift)])
    deviations = widen * np.sqrt(np.diag(POSTERIOR_COVARIANCE))
    gaussian.scale.set_weights([np.zeros([D, D]), np.log(np.expm1(deviations))])
    return model


def mean_and_error(values):
    values = np.asarray(values, np.float64)
    return values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
