"""Presets can be made, and the weights that come with some are the ones that were measured."""

import os
import pathlib
import re

import keras
import numpy as np
import pytest

import tfzoo
from tfzoo import runs
from tfzoo.presets import PRESETS

PRETRAINED = [name for name, preset in PRESETS.items() if preset.weights]
DATA_DIR = pathlib.Path(os.environ.get("TFDS_DATA_DIR", pathlib.Path.home() / "tensorflow_datasets"))


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_preset_is_named_by_its_model_and_data_and_fits_both(name: str) -> None:
    preset = PRESETS[name]
    # The volumes are the phantoms that come with the package; the preset is for anyone's.
    base, latents = re.fullmatch(r"(.*?)(?:_(\d+)d)?", name).groups()
    assert base in (
        f"{preset.model}_{preset.dataset.removesuffix('_cropped')}",
        f"{preset.model}_volume",
    )
    latent_dim = preset.model_options["latent_dim"]
    assert latents == str(latent_dim) if latents else latent_dim != 2 or preset.model == "riemannian_vae"
    assert tfzoo.data.info(preset.dataset).event_shape == preset.event_shape
    assert hasattr(keras.optimizers, preset.optimizer)
    model = tfzoo.create_model(name)
    assert (model.event_shape, model.latent_dim) == (preset.event_shape, latent_dim)
    # Of each model once: other presets of it differ in sizes.
    if name == next(each for each in sorted(PRESETS) if PRESETS[each].model == preset.model):
        assert model.sample(2, seed=0).shape == (2, *preset.event_shape)
    assert runs.RunConfig.of(name).epochs == preset.epochs


@pytest.mark.fast
@pytest.mark.parametrize("data", ["mnist", "fashion_mnist", "svhn", "cifar10", "celeb_a"])
def test_under_another_prior_the_chains_and_the_generator_are_the_same(data: str) -> None:
    made = [tfzoo.create_model(f"{name}_{data}") for name in ("abp", "latent_flow", "latent_ebm")]
    chains = {(model.chain, model.num_steps, model.step_size, model.latent_dim) for model in made}
    assert len(chains) == 1
    assert len({str([weight.shape for weight in model.decoder.weights]) for model in made}) == 1


@pytest.mark.fast
@pytest.mark.parametrize("name", PRETRAINED)
def test_weights_are_small(name: str) -> None:
    weights = pathlib.Path(tfzoo.__file__).parent / "weights" / str(PRESETS[name].weights)
    assert weights.stat().st_size < 3 * 2**20


@pytest.mark.parametrize("name", PRETRAINED)
def test_pretrained_weights_give_the_measured_bound(name: str) -> None:
    if not (DATA_DIR / PRESETS[name].dataset).exists():
        pytest.skip(f"needs {PRESETS[name].dataset} prepared in {DATA_DIR}")
    model = tfzoo.create_model(name, pretrained=True, seed=0)
    config = runs.RunConfig.of(name, data_options={"data_dir": str(DATA_DIR)})
    # The first 1,000 test images, binarised as for the measured figure.
    images = np.concatenate([batch["image"] for batch in runs.load_split(config, "test", batch_size=500).take(2)])
    bound = np.asarray(model.elbo(images, seed=1))
    assert bound.mean() == pytest.approx(PRESETS[name].measured["elbo"], abs=4 * bound.std() / np.sqrt(len(bound)))


@pytest.mark.fast
def test_pretrained_without_weights_names_the_presets_that_have_them() -> None:
    with pytest.raises(ValueError, match=r"pretrained weights come with .*Received: 'iwae_digits'"):
        tfzoo.create_model("iwae_digits", pretrained=True)
