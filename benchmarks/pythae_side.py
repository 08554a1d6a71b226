"""What is measured of pythae: its training step and its trainer, on the networks of `networks.py`."""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator

import numpy as np
import pythae
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import HVAE, IWAE, VAE, VAE_IAF, HVAEConfig, IWAEConfig, VAE_IAF_Config, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

__all__ = ["FITS", "STEPS", "VERSIONS"]

VERSIONS = {"torch": torch.__version__, "pythae": getattr(pythae, "__version__", "0.1.2")}
EVENT_SHAPE = (1, 28, 28)
LEARNING_RATE = 1e-3


class SmallEncoder(BaseEncoder):
    """Two convolutions and two heads."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.embedding = nn.Linear(7 * 7 * 64, latent_dim)
        self.log_var = nn.Linear(7 * 7 * 64, latent_dim)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        features = self.layers(x)
        return ModelOutput(embedding=self.embedding(features), log_covariance=self.log_var(features))


class SmallDecoder(BaseDecoder):
    """A linear layer and two transposed convolutions."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(latent_dim, 7 * 7 * 64)
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Sigmoid()
        )

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(self.linear(z).reshape(-1, 64, 7, 7)))


def create_model(model: str, network: str, latent_dim: int) -> nn.Module:
    """Returns pythae's model; its default networks are the ones called "mlp"."""
    options = {"input_dim": EVENT_SHAPE, "latent_dim": latent_dim, "reconstruction_loss": "mse"}
    networks = {"encoder": SmallEncoder(latent_dim), "decoder": SmallDecoder(latent_dim)} if network == "small" else {}
    if model.startswith("hamiltonian_vae_"):
        num_steps = int(model.removeprefix("hamiltonian_vae_"))
        return HVAE(HVAEConfig(n_lf=num_steps, eps_lf=0.001, beta_zero=0.3, **options), **networks)
    if model == "iaf_vae":
        return VAE_IAF(VAE_IAF_Config(n_made_blocks=2, n_hidden_in_made=3, hidden_size=128, **options), **networks)
    if model == "iwae":
        return IWAE(IWAEConfig(number_samples=5, **options), **networks)
    return VAE(VAEConfig(**options), **networks)


def pythae_step(model: str, network: str, latent_dim: int, images: np.ndarray) -> tuple[Callable[[], float], int]:
    """Returns what pythae's trainer does with one batch, without the trainer; and the number of weights."""
    built = create_model(model, network, latent_dim)
    built.train()
    optimizer = torch.optim.Adam(built.parameters(), lr=LEARNING_RATE)
    inputs = {"data": torch.from_numpy(images.reshape(-1, *EVENT_SHAPE).copy())}

    def step() -> float:
        output = built(inputs)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        return output.loss.item()

    return step, sum(p.numel() for p in built.parameters() if p.requires_grad)


class _Clock(TrainingCallback):
    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs: object) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: object) -> None:
        self.seconds.append(time.perf_counter() - self._start)


def pythae_fit(model: str, network: str, latent_dim: int, *, examples: int, batch_size: int) -> Iterator[float]:
    """Yields the seconds of each epoch of pythae's trainer on a freshly built model, the first left out."""
    images = np.random.default_rng(0).random((examples, *EVENT_SHAPE), dtype=np.float32)
    data = BaseDataset(torch.from_numpy(images), torch.zeros(examples))
    built = create_model(model, network, latent_dim)
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=batch_size,
            num_epochs=1,
            learning_rate=LEARNING_RATE,
            no_cuda=True,
        )
        for epoch in itertools.count():
            clock = _Clock()
            BaseTrainer(built, data, training_config=config, callbacks=[clock]).train()
            if epoch:
                yield clock.seconds[0]


STEPS = {"pythae": pythae_step}
FITS = {"pythae": pythae_fit}
