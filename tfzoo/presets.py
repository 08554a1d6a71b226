"""Presets: a model, the data it was made for, how it is trained, what the paper reports and what was measured here.

Data, no code. A preset's name is "<model>_<data>"; "<model>_volume" goes by phantoms, and is meant for scans; "_2d" has
two latents, whose posteriors can be drawn, and so on; the Riemannian VAEs have two where their names say nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["PRESETS", "Preset"]


def _frozen(**values: Any) -> Mapping[str, Any]:
    return MappingProxyType(values)


@dataclass(frozen=True)
class Preset:
    """One row of the zoo.

    Attributes:
      model: a name of `tfzoo.list_models()`.
      dataset: a name that `tfzoo.data.load` takes.
      event_shape: of one example.
      model_options: arguments of the model.
      data_options: arguments of `tfzoo.data.load`.
      optimizer: a class of `keras.optimizers`.
      learning_rate: its step size.
      optimizer_options: its other arguments.
      learning_rate_decay: factor of the step size from one epoch to the next.
      prior_learning_rate: step size of a second optimizer of the same kind, for the prior; None for one in all.
      batch_size: examples a step.
      epochs: of a full run.
      reported: what the paper reports, by metric, and where it stands.
      weights: file in `tfzoo/weights` that `pretrained=True` loads, or None.
      measured: what these weights were measured at; says epochs, hardware, estimator.
    """

    model: str
    dataset: str
    event_shape: tuple[int, ...]
    model_options: Mapping[str, Any]
    data_options: Mapping[str, Any]
    optimizer: str
    learning_rate: float
    batch_size: int
    epochs: int
    optimizer_options: Mapping[str, Any] = field(default_factory=_frozen)
    learning_rate_decay: float = 1.0
    prior_learning_rate: float | None = None
    reported: Mapping[str, Any] = field(default_factory=_frozen)
    weights: str | None = None
    measured: Mapping[str, Any] = field(default_factory=_frozen)


# Networks, optimiser and batch as Caterini et al. 2018 (their code); 2,000 epochs is their limit before early stopping.
_HVAE_TRAINING: dict[str, Any] = {"optimizer": "Adamax", "learning_rate": 5e-4, "batch_size": 100, "epochs": 2000}

# Damping and first temperature learned. With the paper's damping of 0.01 the flow keeps its energy, and with it the
# divergence of the encoder from the posterior: only what cools tightens the bound.
_COOLED: dict[str, Any] = {"damping": None, "initial_temperature": None}

# Grey values with a learned scale: at 8x8 pixels a binarised digit is mostly noise.
_DIGITS_TRAINING: dict[str, Any] = {"optimizer": "Adam", "learning_rate": 4e-3, "batch_size": 50, "epochs": 60}

# The paper's ablations: s, K and alpha; its best L_2. Likelihood scale, optimiser and epochs are not given there.
_SHORT_RUN: dict[str, Any] = {"alpha": 0.5, "step_size": 0.03, "num_steps": 30, "num_learning_steps": 3}
_SHORT_RUN_TRAINING: dict[str, Any] = {"optimizer": "Adam", "learning_rate": 4e-4, "batch_size": 100, "epochs": 200}
_SHORT_RUN_PAPER = "An, Xie, Li, CVPR 2021, table 1"

# As the authors' code; MNIST is their anomaly detection, with Fashion-MNIST like it. No metrics of that are in nats.
_LATENT: dict[str, Any] = {
    "data_options": _frozen(value_range=(-1.0, 1.0)),
    "optimizer": "Adam",
    "optimizer_options": _frozen(beta_1=0.5),
    "learning_rate_decay": 0.998,
    "batch_size": 100,
}
_LATENT_SETS: dict[str, dict[str, Any]] = {
    # Options that all generators share, those of inference by chains, and the flow's learning rate.
    "mnist": {"shape": (28, 28, 1), "options": {"latent_dim": 20}, "num_steps": 20, "rate": 4e-4, "epochs": 21},
    "fashion_mnist": {"shape": (28, 28, 1), "options": {"latent_dim": 20}, "num_steps": 20, "rate": 4e-4, "epochs": 21},
    "svhn_cropped": {"shape": (32, 32, 3), "options": {"latent_dim": 100}, "num_steps": 20, "rate": 4e-4},
    "cifar10": {
        "shape": (32, 32, 3),
        "options": {"latent_dim": 128, "width": 2.0, "first_size": 8},
        "num_steps": 40,
        "rate": 3.8e-4,
    },
    "celeb_a": {"shape": (64, 64, 3), "options": {"latent_dim": 100, "width": 2.0}, "num_steps": 20, "rate": 3e-4},
}
_LATENT_PAPER = "arXiv:2301.09300 table 2"
_LATENT_REPORTED: dict[str, dict[str, tuple[float | None, float]]] = {  # MSE, FID
    # The Gaussian prior: the same loop from the same noise, so that the prior alone differs.
    "abp": {"svhn_cropped": (None, 49.71), "cifar10": (0.018, 90.30), "celeb_a": (None, 51.50)},
    "latent_flow": {"svhn_cropped": (0.005, 23.64), "cifar10": (0.016, 66.41), "celeb_a": (0.011, 33.64)},
    "latent_flow_vae": {"svhn_cropped": (0.005, 24.96), "cifar10": (0.020, 69.70), "celeb_a": (0.014, 33.64)},
    "latent_ebm": {"svhn_cropped": (0.008, 29.44), "cifar10": (0.020, 70.15), "celeb_a": (0.013, 37.87)},
}


def _latent_preset(model: str, dataset: str) -> Preset:
    facts = _LATENT_SETS[dataset]
    rate, rate_of_prior = (1e-4, 2e-5) if model == "latent_ebm" else (facts["rate"], facts["rate"])
    inference = {} if model == "latent_flow_vae" else {"num_steps": facts["num_steps"]}
    if model == "abp":
        inference |= {"chain": "noise", "step_size": 0.1}
    mse, fid = _LATENT_REPORTED[model].get(dataset, (None, None))
    return Preset(
        model=model,
        dataset=dataset,
        event_shape=facts["shape"],
        model_options=_frozen(**facts["options"], **inference),
        learning_rate=rate,
        prior_learning_rate=None if model == "abp" else rate_of_prior,
        epochs=facts.get("epochs", 200),
        reported=_frozen(**{"mse": mse} if mse else {}, fid=fid, source=_LATENT_PAPER) if fid else _frozen(),
        **_LATENT,
    )


# As the authors' code: 100 epochs to each of two stages.
_RIEMANNIAN_TRAINING: dict[str, Any] = {"optimizer": "Adam", "learning_rate": 1e-3, "batch_size": 100, "epochs": 200}
# Its table is of sums over 100 batches, divided by 78; here by 100.
_RIEMANNIAN_ELBO = {2: (728.9, 934.47), 5: (872.0, 1117.89), 10: (964.3, 1236.25)}

PRESETS: dict[str, Preset] = {
    "vae_digits": Preset(
        model="vae",
        dataset="digits",
        event_shape=(8, 8, 1),
        model_options=_frozen(latent_dim=16, likelihood="gaussian"),
        data_options=_frozen(),
        **_DIGITS_TRAINING,
    ),
    "iwae_digits": Preset(
        model="iwae",
        dataset="digits",
        event_shape=(8, 8, 1),
        model_options=_frozen(latent_dim=16, likelihood="gaussian", num_samples=5),
        data_options=_frozen(),
        **_DIGITS_TRAINING,
    ),
    "vae_mnist": Preset(
        model="vae",
        dataset="mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
        reported=_frozen(source="arXiv:2009.01675 has no plain VAE; its nearest rows are NLL 83.10 (HVAE, K = 2)"),
        weights="vae_mnist.weights.h5",
        measured=_frozen(
            nll=85.61,
            nll_standard_error=0.22,
            elbo=-89.82,
            mse=0.0210,
            inception_score=7.09,
            fid=2.69,
            how="10,000 test images, 1,000 importance samples each; MNIST classifier; epoch 172, 2 CPU cores",
        ),
    ),
    "iwae_mnist": Preset(
        model="iwae",
        dataset="mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64, num_samples=50),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
        reported=_frozen(nll=82.90, source="arXiv:2009.01675 table 1, for a two-layer IWAE of other networks"),
    ),
    "langevin_vae_mnist": Preset(
        model="langevin_vae",
        dataset="mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64, num_steps=5, **_COOLED),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
        reported=_frozen(
            nll=82.40,
            elbo=-84.81,
            inception_score=7.76,
            source="arXiv:2009.01675 table 1, K = 5 (for K = 2: NLL 82.95, ELBO -85.37, IS 7.67; --set num_steps=2)",
        ),
    ),
    "hamiltonian_vae_mnist": Preset(
        model="hamiltonian_vae",
        dataset="mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64, num_steps=5),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
        reported=_frozen(
            nll=82.75,
            elbo=-85.29,
            inception_score=7.38,
            source="arXiv:2009.01675 table 1, K = 5 (for K = 2: NLL 83.10, ELBO -85.70, IS 7.59; --set num_steps=2)",
        ),
    ),
    **{
        f"{model}_mnist{suffix}": Preset(
            model=model,
            dataset="mnist",
            event_shape=(28, 28, 1),
            model_options=_frozen(latent_dim=latent_dim),
            data_options=_frozen(binarize="dynamic"),
            **_HVAE_TRAINING,
            reported=_frozen(source="a poster with pictures only: test losses below the VAE's"),
        )
        for model in ("iaf_vae", "pcp_map_vae")
        for latent_dim, suffix in ((64, ""), (2, "_2d"))
    },
    "short_run_ot_digits": Preset(
        model="short_run_ot",
        dataset="digits",
        event_shape=(8, 8, 1),
        model_options=_frozen(latent_dim=16, **{**_SHORT_RUN, "step_size": 0.1, "num_learning_steps": 1}),
        data_options=_frozen(value_range=(-1.0, 1.0)),
        optimizer="Adam",
        learning_rate=1e-3,
        batch_size=100,
        epochs=60,
    ),
    **{
        f"short_run_ot_{dataset.removesuffix('_cropped')}": Preset(
            model="short_run_ot",
            dataset=dataset,
            event_shape=event_shape,
            model_options=_frozen(latent_dim=64, width=width, **_SHORT_RUN),
            data_options=_frozen(value_range=(-1.0, 1.0)),
            **_SHORT_RUN_TRAINING,
            reported=_frozen(**reported),
        )
        for dataset, event_shape, width, reported in (
            (
                "mnist",
                (28, 28, 1),
                1.0,
                {
                    "mse": 0.008,
                    "fid": 14.28,
                    "source": f"{_SHORT_RUN_PAPER} prints MSE .0008; by its table 6 it is .008",
                },
            ),
            ("fashion_mnist", (28, 28, 1), 1.0, {}),
            ("svhn_cropped", (32, 32, 3), 1.0, {"mse": 0.002, "fid": 19.48, "source": _SHORT_RUN_PAPER}),
            ("celeb_a", (64, 64, 3), 2.0, {"mse": 0.010, "fid": 29.75, "source": _SHORT_RUN_PAPER}),
        )
    },
    **{
        f"{model}_{dataset.removesuffix('_cropped')}": _latent_preset(model, dataset)
        for model in _LATENT_REPORTED
        for dataset in _LATENT_SETS
    },
    "riemannian_vae_digits": Preset(
        model="riemannian_vae",
        dataset="digits",
        event_shape=(8, 8, 1),
        model_options=_frozen(latent_dim=2, first_stage_epochs=30, num_centres=100),
        data_options=_frozen(),
        **{**_DIGITS_TRAINING, "epochs": 70},
    ),
    **{
        f"riemannian_vae_{dataset}{suffix}": Preset(
            model="riemannian_vae",
            dataset=dataset,
            event_shape=(28, 28, 1),
            model_options=_frozen(latent_dim=latent_dim),
            data_options=_frozen(),
            **_RIEMANNIAN_TRAINING,
            reported=_frozen(
                elbo=_RIEMANNIAN_ELBO[latent_dim][0],
                source=f"a reproduction of arXiv:2002.05227, whose table 1 prints {_RIEMANNIAN_ELBO[latent_dim][1]}",
            )
            if dataset == "fashion_mnist"
            else _frozen(),
        )
        for dataset, latent_dim, suffix in (
            ("fashion_mnist", 2, ""),
            ("fashion_mnist", 5, "_5d"),
            ("fashion_mnist", 10, "_10d"),
            ("mnist", 2, ""),
        )
    },
    "langevin_vae_fashion_mnist": Preset(
        model="langevin_vae",
        dataset="fashion_mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64, num_steps=5, **_COOLED),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
    ),
    "langevin_vae_volume": Preset(
        model="langevin_vae",
        dataset="spiral_tubes",
        event_shape=(60, 50, 50, 1),
        model_options=_frozen(latent_dim=64, num_steps=5, **_COOLED),
        data_options=_frozen(),
        **{**_HVAE_TRAINING, "batch_size": 10},
        reported=_frozen(elbo=-85135.24, nll=83159.44, source="arXiv:2009.01675 table 2, on 1,080 private CT volumes"),
    ),
    "vae_fashion_mnist": Preset(
        model="vae",
        dataset="fashion_mnist",
        event_shape=(28, 28, 1),
        model_options=_frozen(latent_dim=64),
        data_options=_frozen(binarize="dynamic"),
        **_HVAE_TRAINING,
        weights="vae_fashion_mnist.weights.h5",
        measured=_frozen(
            nll=234.29,
            nll_standard_error=0.76,
            elbo=-236.99,
            mse=0.0905,
            inception_score=5.30,
            fid=1.68,
            how="10,000 test images, 1,000 importance samples each; fashion classifier; epoch 68, 2 CPU cores",
        ),
    ),
}
