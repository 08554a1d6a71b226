"""Arguments of parts of every kind: NumPy's numbers are as good as Python's, and what is no number is one sentence."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import tfzoo
from tfzoo import callbacks, checks, objectives
from tfzoo.bijectors import IAF, CouplingFlow, PCPMap
from tfzoo.distributions import EnergyPrior, FlowPrior, GaussianLikelihood
from tfzoo.geometry import geodesic
from tfzoo.networks import conv, default
from tfzoo.networks.made import MADE
from tfzoo.networks.rbf import RBFScale

pytestmark = pytest.mark.fast

Z = tf.zeros([1, 2])


def model(name, **options):
    return tfzoo.create_model(name, event_shape=(3,), latent_dim=2, **options)


def bound(estimate, **options):
    return estimate(lambda z: z[..., 0], tfd.Independent(tfd.Normal(Z, 1.0), 1), seed=0, **options)


NUMBERS = {
    "RBFScale, beta": lambda value: RBFScale((4,), beta=value),
    "solve, tolerance": lambda value: geodesic.solve(lambda z: z, Z, Z + 1.0, tolerance=value),
    "generator, width": lambda value: default.generator((28, 28, 1), 2, likelihood="gaussian", width=value),
    "GaussianLikelihood, scale": GaussianLikelihood,
    "EnergyPrior, step_size": lambda value: EnergyPrior(2, step_size=value),
    "CouplingFlow, initial_noise": lambda value: CouplingFlow(2, initial_noise=value),
    "CouplingFlow, bound": lambda value: CouplingFlow(2, transformation="spline", bound=value),
    "PCPMap, strong_convexity": lambda value: PCPMap(2, strong_convexity=value),
    "abp, step_size": lambda value: model("abp", step_size=value),
    "short_run_ot, alpha": lambda value: model("short_run_ot", alpha=value),
    "hamiltonian_vae, step_size": lambda value: model("hamiltonian_vae", step_size=value, step_size_range=(0.0, 2.0)),
    "hamiltonian_vae, step_size_range": lambda value: model("hamiltonian_vae", step_size_range=(0.0, value)),
    "langevin_vae, damping": lambda value: model("langevin_vae", damping=value),
    "langevin_vae, initial_temperature": lambda value: model("langevin_vae", initial_temperature=value),
    "riemannian_vae, beta": lambda value: model("riemannian_vae", beta=value),
}
COUNTS = {
    "CouplingFlow, num_bins": lambda value: CouplingFlow(2, transformation="spline", num_bins=value),
    "MADE, num_outputs": lambda value: MADE(2, num_outputs=value),
    "riemannian_vae, first_stage_epochs": lambda value: model("riemannian_vae", first_stage_epochs=value),
    "dcgan_decoder, first_size": lambda value: conv.dcgan_decoder((32, 32, 1), 2, filters=1, first_size=value),
    "elbo, num_samples": lambda value: bound(objectives.elbo, num_samples=value),
    "iwae, num_samples": lambda value: bound(objectives.iwae, num_samples=value),
    "log_prob, num_samples": lambda value: bound(objectives.importance.log_prob, num_samples=value),
    "log_prob, chunk_size": lambda value: bound(objectives.importance.log_prob, chunk_size=value, num_samples=8),
    "ImageGrids, every": lambda value: callbacks.ImageGrids("logs", Z, every=value),
    "RecoveredImages, every": lambda value: callbacks.RecoveredImages("pictures", Z, Z, every=value),
}
WIDTHS = {
    "CouplingFlow": lambda widths: CouplingFlow(2, hidden_units=widths),
    "IAF": lambda widths: IAF(2, hidden_units=widths),
    "MADE": lambda widths: MADE(2, hidden_units=widths),
    "PCPMap": lambda widths: PCPMap(2, hidden_units=widths),
}
CHOICES = {
    "transformation": lambda value: IAF(2, transformation=value),
    "order": lambda value: IAF(2, order=value),
    "mixing": lambda value: CouplingFlow(2, mixing=value),
    "nonnegative": lambda value: PCPMap(2, nonnegative=value),
    "flow": lambda value: FlowPrior(2, flow=value),
    "curve": lambda value: geodesic.solve(lambda z: z, Z, Z, curve=value),
    "chain": lambda value: model("abp", chain=value),
    "training": lambda value: model("riemannian_vae", training=value),
}


def refuses(name, call, value):
    with pytest.raises(ValueError, match=rf"^{name} must be [^\n]*\. Received: [^\n]*$"):
        call(value)


@pytest.mark.parametrize("case", NUMBERS)
def test_numbers(case):
    call, name = NUMBERS[case], case.split(", ")[1]
    for value in (0.4, np.float32(0.4), np.float64(0.4)):
        made = call(value)
    if hasattr(made, "get_config"):
        json.dumps(made.get_config())
    for value in ("0.4", True, np.bool_(True), float("nan"), float("inf"), -1.0, [0.4]):
        refuses(name, call, value)


@pytest.mark.parametrize("case", COUNTS)
def test_whole_numbers(case):
    call, name = COUNTS[case], case.split(", ")[1]
    for value in (4, np.int64(4), np.uint8(4)):
        made = call(value)
    if hasattr(made, "get_config"):
        json.dumps(made.get_config())
    for value in ("4", True, np.bool_(True), 4.0, 4.5, -1):
        refuses(name, call, value)


@pytest.mark.parametrize("case", WIDTHS)
def test_widths(case):
    call = WIDTHS[case]
    for widths in ([8], (np.int64(8),), np.array([8, 8])):
        layer = call(widths)
    json.dumps(layer.get_config())
    for widths in ((), [], 8, "8", ["8"], [True], [8.0], [64.7], [8, 0], np.array([8.0])):
        refuses("hidden_units", call, widths)


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    for value in ("another", None, 1, ["another"]):
        refuses(name, CHOICES[name], value)


def test_what_passes_is_pythons_own():
    assert type(checks.check_whole("count", np.int64(0), 0)) is int
    assert type(checks.check_positive_number("scale", np.float32(0.5))) is float
    assert type(checks.check_number("alpha", 1, 0, 1)) is float
    assert type(checks.check_between("tolerance", np.float64(0.5), 0, 1)) is float
    assert type(checks.check_choice("flow", np.str_("iaf"), ("iaf",))) is str
    assert [type(width) for width in checks.check_widths("units", np.array([8]))] == [int]
