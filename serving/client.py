"""A client of the zoo's models behind TF Serving or the development server, without TensorFlow.

    client = Client("http://127.0.0.1:8501")            # REST; or Client("grpc://127.0.0.1:8500"), which is faster
    images = client.sample("langevin_vae_mnist", 16, seed=1)
    codes = client.encode("langevin_vae_mnist", images)

Needs NumPy, protobuf, and requests for REST or grpcio for gRPC. Images are float32 ``[B, *event_shape]`` in the range
of the model's likelihood, latent codes float32 ``[B, D]``. A seed is an int from 0 to 2^31 - 1, of which every example
gets a pair of its own, so that the first images of a larger sample are those of a smaller one; or the pairs themselves,
int32 ``[B, 2]``. The same seed gives the same answer.
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import numpy as np

from serving.errors import ServingError

__all__ = ["Client", "ServingError", "Transport"]

_Result = TypeVar("_Result")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


class Transport(Protocol):
    """One try of a request over REST or gRPC; what may pass by itself is a ServingError UNAVAILABLE."""

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        version: int | None,
        label: str | None,
        seconds: float,
    ) -> dict[str, np.ndarray]:
        """Returns the outputs by name."""

    def status(self, model: str, version: int | None, label: str | None, seconds: float) -> dict[int, tuple[str, str]]:
        """Returns state and error of the versions."""

    def close(self) -> None:
        """Closes connections."""


class Client:
    """Talks to one server.

    Args:
      url: "http://host:8501", "https://host" or "grpc://host:8500".
      timeout: seconds until an answer, tries and pauses together.
      retries: tries after the first one, on 503 (UNAVAILABLE) and on connections that fail or break. Requests change
        nothing on the server, so that a second try is safe.
      backoff: seconds before the first of them; each next pause is twice as long, at most 2 s, and each is shortened
        at random by up to a half, so that many clients do not come back at once.

    Raises:
      ValueError: for another kind of address.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, retries: int = 8, backoff: float = 0.1) -> None:
        parts = urlsplit(url)
        self._transport: Transport
        if parts.scheme in ("http", "https") and parts.netloc:
            from serving.client_rest import RestTransport

            self._transport = RestTransport(url.rstrip("/"), direct=parts.hostname in _LOOPBACK)
        elif parts.scheme == "grpc" and parts.netloc:
            from serving.client_grpc import GrpcTransport

            self._transport = GrpcTransport(parts.netloc, direct=parts.hostname in _LOOPBACK)
        else:
            raise ValueError(f"url must be http://host:port, https://host or grpc://host:port. Received: {url}")
        self._timeout = timeout
        self._retries = retries
        self._backoff = backoff

    # === Any model ===

    def predict(
        self,
        model: str,
        signature: str,
        inputs: Mapping[str, Any],
        *,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
          model: its name at the server.
          signature: its name, such as "encode".
          inputs: arrays of the signature's types, by name.
          version: by number; None for the highest one, or for `label`.
          label: name of a version, such as "stable".

        Returns:
          The outputs by name.

        Raises:
          ServingError: with the server's code and message, DEADLINE_EXCEEDED if the time is up, or UNAVAILABLE if the
            last try failed too.
          ValueError: if both `version` and `label` are given.
        """
        arrays = {name: np.asarray(value) for name, value in inputs.items()}
        return self._try(
            version, label, lambda left: self._transport.predict(model, signature, arrays, version, label, left)
        )

    def status(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[int, tuple[str, str]]:
        """Returns the state ("AVAILABLE", ...) and the error ("" if none) of a model's versions, by number."""
        return self._try(version, label, lambda left: self._transport.status(model, version, label, left))

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, version: int | None, label: str | None, call: Callable[[float], _Result]) -> _Result:
        if version is not None and label is not None:
            raise ValueError(f"Either version or label may be given. Received: {version} and {label}")
        deadline = time.monotonic() + self._timeout
        pause = self._backoff
        for attempt in range(self._retries + 1):
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                return call(left)
            except ServingError as error:
                if error.code != "UNAVAILABLE" or attempt == self._retries:
                    raise
                wait = pause * random.uniform(0.5, 1.0)
                if time.monotonic() + wait >= deadline:
                    raise ServingError(
                        "DEADLINE_EXCEEDED", f"No answer within {self._timeout:.3g} s; the last try: {error.message}"
                    ) from error
                time.sleep(wait)
                pause = min(2 * pause, 2.0)
        raise ServingError("DEADLINE_EXCEEDED", f"No answer within {self._timeout:.3g} s.")

    # === Models of the zoo ===

    def sample(self, model: str, num_samples: int, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns `num_samples` new images; `which` is `version` or `label`, here and below."""
        return self._one(model, "sample", {"seed": _pairs(seed, num_samples)}, which)

    def encode(self, model: str, images: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns the latent codes ``[B, D]`` of images."""
        return self._of_images(model, "encode", images, seed, which)

    def decode(self, model: str, z: Any, **which: Any) -> np.ndarray:
        """Returns the mean images of latent codes."""
        return self._one(model, "decode", {"z": _floats(z)}, which)

    def reconstruct(self, model: str, images: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns the images, encoded and decoded."""
        return self._of_images(model, "reconstruct", images, seed, which)

    def log_prob(self, model: str, images: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns estimates of log p(x) in nats, ``[B]``."""
        return self._of_images(model, "log_prob", images, seed, which)

    def score(self, model: str, images: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns -log p(x, z) at the inferred z, ``[B]``: higher is more anomalous."""
        return self._of_images(model, "score", images, seed, which)

    def inpaint(self, model: str, images: Any, mask: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns the images, completed where `mask` is 0; it has their shape, or one that broadcasts to it."""
        images = _floats(images)
        mask = np.broadcast_to(_floats(mask), images.shape)
        return self._one(model, "inpaint", {"images": images, "mask": mask, "seed": _pairs(seed, len(images))}, which)

    def interpolate(self, model: str, start: Any, end: Any, **which: Any) -> np.ndarray:
        """Returns images between `start` and `end`, ``[B, num_points, *event_shape]``, as many as exported."""
        return self._one(model, "interpolate", {"start": _floats(start), "end": _floats(end)}, which)

    def sample_brownian(self, model: str, z: Any, seed: Any = 1, **which: Any) -> np.ndarray:
        """Returns images at the ends of Brownian motions from latent codes, of a model with such a prior."""
        z = _floats(z)
        return self._one(model, "sample_brownian", {"z": z, "seed": _pairs(seed, len(z))}, which)

    def _of_images(self, model: str, signature: str, images: Any, seed: Any, which: Mapping[str, Any]) -> np.ndarray:
        images = _floats(images)
        return self._one(model, signature, {"images": images, "seed": _pairs(seed, len(images))}, which)

    def _one(
        self, model: str, signature: str, inputs: Mapping[str, np.ndarray], which: Mapping[str, Any]
    ) -> np.ndarray:
        (output,) = self.predict(model, signature, inputs, **which).values()
        return output


def _floats(values: Any) -> np.ndarray:
    array = np.asarray(values, np.float32)
    if not array.ndim:
        raise ValueError(f"Values must have a batch dimension. Received: {values}")
    return array


def _pairs(seed: Any, count: int) -> np.ndarray:
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool) and 0 <= seed < 2**31:
        return np.stack([np.full(count, seed, np.int32), np.arange(count, dtype=np.int32)], axis=-1)
    pairs = np.asarray(seed)
    if pairs.dtype.kind not in "iu" or pairs.shape != (count, 2):
        raise ValueError(
            f"seed must be an int from 0 to 2^31 - 1, or pairs of integers [{count}, 2]. Received: {seed!r}"
        )
    return pairs.astype(np.int32)
