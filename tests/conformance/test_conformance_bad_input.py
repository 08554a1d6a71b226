"""What a model cannot take is one sentence that ends in what was received."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo

pytestmark = pytest.mark.fast

COUNT = r"^num_\w+ must be a whole number of at least 1\. Received: [^\n]*$"
ONE_SENTENCE = r"^[^\n]* Received: [^\n]*$"
METHODS = {
    "encode": lambda model, x: model.encode(x),
    "reconstruct": lambda model, x: model.reconstruct(x),
    "base_posterior": lambda model, x: model.base_posterior(x),
    "elbo": lambda model, x: model.elbo(x),
    "log_prob": lambda model, x: model.log_prob(x, 2),
    "anomaly_score": lambda model, x: model.anomaly_score(x),
    "log_joint": lambda model, x: model.log_joint(x, np.zeros([2, 2], np.float32)),
    "inpaint": lambda model, x: model.inpaint(x, np.float32(1.0), num_steps=1),
    "fit": lambda model, x: model.fit(x, verbose=0),
    "evaluate": lambda model, x: model.evaluate(x, verbose=0),
    "predict": lambda model, x: model.predict(x, verbose=0),
}
WRONG = {
    "rank": lambda x: x[0],
    "size": lambda x: x[:, :-1],
    "8-bit": lambda x: (x * 255).astype(np.uint8),
    "integer": lambda x: x.astype(np.int64),
    "bool": lambda x: x > 0.5,
    "text": lambda x: x.astype(str),
    "too large": lambda x: x + 1,
    "negative": lambda x: x - 1,
    "NaN": lambda x: np.where(x == x.max(), np.nan, x),
    "infinite": lambda x: np.where(x == x.max(), np.inf, x),
    "empty": lambda x: x[:0],
    "labels only": lambda x: {"label": x},
}


@pytest.fixture
def model(image_case, shared_models):
    model = shared_models(image_case)
    if not model.compiled:
        model.compile(optimizer="adam")
    return model


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("method", METHODS)
def test_images(image_case, model, method, wrong):
    with pytest.raises(ValueError, match=ONE_SENTENCE) as error:
        METHODS[method](model, WRONG[wrong](image_case.images(2)))
    assert str(error.value).startswith("images must ")


@pytest.mark.parametrize("wrong", ["rank", "size", "8-bit", "too large", "NaN", "empty"])
def test_tensors_as_well_as_arrays(image_case, model, wrong):
    x = tf.constant(WRONG[wrong](image_case.images(2)))
    with pytest.raises(ValueError, match=ONE_SENTENCE):
        model.encode(x)


def test_what_the_sentences_say(image_case, model):
    x = image_case.images(2)
    for wrong, sentence in {
        "size": "images must have shape [B, 6, 6, 1]. Received: shape (2, 5, 6, 1)",
        "8-bit": "images must be floating point (divide 8-bit images by 255). "
        "Received: dtype uint8, shape (2, 6, 6, 1)",
        "NaN": "images must be in [0, 1], the range of the likelihood. Received: 1 NaN",
        "empty": "images must hold at least one example. Received: shape (0, 6, 6, 1)",
        "labels only": 'images must be an array, or a dict with the key "image". Received: a dict with the keys label',
    }.items():
        with pytest.raises(ValueError, match="Received") as error:
            model.encode(WRONG[wrong](x))
        assert str(error.value) == sentence


def test_a_gaussian_takes_any_finite_number(image_case):
    model = image_case.model(likelihood="gaussian")
    model.encode(image_case.images(2) * 100 - 50)
    with pytest.raises(ValueError, match=r"images must be finite, .* Received: values from .* to inf$"):
        model.encode(np.where(image_case.images(2) > 0.5, np.inf, 0))


def test_rounding_of_float64_is_no_error(image_case, model):
    model.encode(np.ones([1, *image_case.event_shape]) + 1e-15)


@pytest.mark.parametrize("method", ["decode", "likelihood", "log_joint"])
@pytest.mark.parametrize(
    "z",
    [
        np.zeros([3, 5]),
        np.float32(1.0),
        np.zeros([3, 2], int),
        np.full([3, 2], np.nan),
        np.zeros([0, 2]),
        {"z": 1},
        "z",
    ],
    ids=["size", "scalar", "integer", "NaN", "empty", "dict", "text"],
)
def test_latents(image_case, model, method, z):
    arguments = (image_case.images(3), z) if method == "log_joint" else (z,)
    with pytest.raises(ValueError, match=r"^z must [^\n]* Received: [^\n]*$"):
        getattr(model, method)(*arguments)


@pytest.mark.parametrize(
    "mask", [np.ones([4, 4, 1]), np.full([6, 6, 1], 0.5), np.full([6, 6, 1], np.nan), np.zeros([6, 6, 1])]
)
def test_masks(image_case, model, mask):
    with pytest.raises(ValueError, match=r"^mask must [^\n]* Received: [^\n]*$"):
        model.inpaint(image_case.images(2), mask)


@pytest.mark.parametrize("count", [0, -1, 2.0, True, "3", None])
def test_counts(image_case, model, count):
    x = image_case.images(2)
    if image_case.amortised:
        with pytest.raises(ValueError, match=COUNT):
            model.elbo(x, count)
    if count is not None:  # which is a default
        with pytest.raises(ValueError, match=COUNT):
            model.inpaint(x, np.ones([6, 6, 1]), num_steps=count)
    for call in (
        lambda: model.sample(count),
        lambda: model.log_prob(x, count),
        lambda: model.inpaint(x, np.ones([6, 6, 1]), count),
        lambda: model.interpolate(x, x, count),
    ):
        with pytest.raises(ValueError, match=COUNT):
            call()


@pytest.mark.parametrize("seed", [1.5, [1, 2, 3], "seed", [[1, 2, 3]], True])
def test_seeds(image_case, model, seed):
    with pytest.raises(ValueError, match=r"^seed must [^\n]* Received: [^\n]*$"):
        model.encode(image_case.images(2), seed)


def test_seeds_for_each_example_need_a_row_for_each(image_case, model):
    x, mask = image_case.images(3), np.ones([6, 6, 1])
    calls = [
        lambda seed: model.sample(3, seed),
        lambda seed: model.encode(x, seed),
        lambda seed: model.reconstruct(x, seed),
        lambda seed: model.anomaly_score(x, seed),
        lambda seed: model.interpolate(x, x, 2, seed),
        lambda seed: model.log_prob(x, 2, seed),
        lambda seed: model.elbo(x, 2, seed) if image_case.amortised else model.inpaint(x, mask, 1, seed),
    ]
    for call, rows in itertools.product(calls, (1, 2, 4)):
        with pytest.raises(ValueError, match=rf"^seed must hold one pair for each of the 3 .* shape \({rows}, 2\)$"):
            call(np.zeros([rows, 2], int))
    if image_case.amortised:
        with pytest.raises(ValueError, match=r"^seed must be an int or a pair \[2\]\. Received: shape \(2, 2\)$"):
            model.inpaint(image_case.images(2), np.ones([6, 6, 1]), seed=np.zeros([2, 2], int))


def test_interpolation_ends_of_one_size(image_case, model):
    with pytest.raises(ValueError, match=r"^x0 and x1 must be of one size\. Received: "):
        model.interpolate(image_case.images(2), image_case.images(3))


@pytest.mark.parametrize(
    "wrong",
    [
        {"latent_dim": 0},
        {"latent_dim": 2.5},
        {"likelihood": "poisson"},
        {"likelihood": "gaussian", "scale": 0.0},
        {"likelihood": "gaussian", "scale": float("nan")},
        {"likelihood": "bernoulli", "scale": 1.0},
        {"seed": "one"},
        {"decoder": "mlp"},
        {"event_shape": ()},
        {"event_shape": 28},
        {"event_shape": (28, 0)},
        {"event_shape": (28.5, 28)},
        {"event_shape": "28"},
        {"event_shape": None},
        {"prior": tfzoo.distributions.StandardNormalPrior(7)},
    ],
    ids=str,
)
def test_arguments(image_case, wrong):
    options = {"event_shape": image_case.event_shape, "latent_dim": 2, **wrong}
    with pytest.raises(ValueError, match=ONE_SENTENCE):
        tfzoo.create_model(image_case.name, **options)


@pytest.mark.parametrize("wrong", [{"num_samples": 0}, {"estimator": "exact"}, {"encoder": len}], ids=str)
def test_arguments_of_models_with_an_encoder(amortised_case, wrong):
    with pytest.raises(ValueError, match=ONE_SENTENCE):
        amortised_case.model(**wrong)


def test_networks_of_the_wrong_shape(image_case):
    with pytest.raises(ValueError, match=r"^decoder must return \[B, 6, 6, 1\]\. Received: \(7,\)$"):
        image_case.model(decoder=keras.layers.Dense(7))
    if image_case.amortised:
        with pytest.raises(ValueError, match=r"^encoder must return features \[B, E\]\. Received: \[B, 6, 6, 3\]$"):
            image_case.model(encoder=keras.layers.Dense(3))
