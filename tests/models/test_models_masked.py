"""Inference and learning from the visible pixels of masked images, and from these only."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.models.linear_gaussian import OFFSET, SCALE, D, N, W, simulate
from tfzoo.distributions.energy_prior import EnergyPrior
from tfzoo.distributions.flow_prior import FlowPrior
from tfzoo.distributions.priors import StandardNormalPrior
from tfzoo.integrators import short_run
from tfzoo.models import saved_model
from tfzoo.models.inpainting import deviation

SHAPE = (4, 4, 2)


def masked_data(hidden=lambda noise: noise):
    """Images whose visible pixels are always the same, and whose hidden ones are made of noise in [0, 1]."""
    rng = np.random.default_rng(0)
    images, noise = rng.random((2, 9, *SHAPE)).astype(np.float32)
    mask = (rng.random((9, *SHAPE[:2], 1)) < 0.6).astype(np.float32)
    mask[:, 0, 0] = 1.0
    return {"image": np.where(mask > 0, images, hidden(noise)), "mask": mask, "index": np.arange(9, dtype=np.int32)}


def trained(data, name="abp", **options):
    keras.utils.set_random_seed(0)
    options = {"latent_dim": 3, "num_steps": 2, "step_size": 0.1, "inference": "short_run", "seed": 1, **options}
    decoder = keras.Sequential([keras.layers.Dense(32), keras.layers.Reshape(SHAPE)])
    if options.get("contrast") == "flow":
        options["prior"] = EnergyPrior(3, proposal=FlowPrior(3, num_steps=1, width=8))
    model = tfzoo.create_model(name, event_shape=SHAPE, decoder=decoder, **options)
    model.compile(keras.optimizers.SGD(1e-3))
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(9)
    return model, model.fit(dataset, validation_data=dataset, epochs=2, verbose=0).history


@pytest.mark.parametrize(
    ("name", "options", "other"),
    [
        # Squares of 1e30 are beyond the largest number: times 0 they would be no number.
        ("short_run_ot", {}, lambda noise: 1e30 * noise),
        ("abp", {"likelihood": "bernoulli"}, lambda noise: 1.0 - noise),
        ("latent_ebm", {"contrast": "flow"}, lambda noise: 1e30 * noise),
    ],
)
def test_what_is_hidden_changes_nothing_bit_for_bit(name, options, other):
    results = []
    for data in (masked_data(), masked_data(other)):
        model, history = trained(data, name, **options)
        completed = model.inpaint(data["image"], data["mask"], 1, seed=3)[0]
        answers = [
            *model.get_weights(),
            model.encode(data, seed=3),
            completed[np.broadcast_to(1 - data["mask"], (9, *SHAPE)) > 0],
        ]
        results.append((history, list(map(np.asarray, answers))))
    (history, answers), (other_history, other_answers) = results
    assert history == other_history
    assert np.isfinite(history["loss"] + history["val_loss"]).all()
    for one, another in zip(answers, other_answers, strict=True):
        np.testing.assert_array_equal(one, another)


def linear_model(name="abp", **options):
    decoder = keras.layers.Dense(N, dtype="float64")
    model = tfzoo.create_model(
        name, event_shape=(N,), latent_dim=D, scale=SCALE, decoder=decoder, dtype="float64", seed=1, **options
    )
    decoder.set_weights([W.T, OFFSET])
    model.compile(keras.optimizers.SGD(1e-3))
    return model


@pytest.mark.fast
def test_codes_are_those_of_the_visible_pixels_and_learning_follows_their_density():
    """In the linear-Gaussian model: the mode of p(z | visible), and a gradient without the hidden pixels."""
    _, x = simulate(8)
    mask = np.random.default_rng(1).integers(0, 2, (8, N)).astype(np.float64)
    mask[:, 0] = 1.0
    model = linear_model(chain="noise", noise=False, step_size=0.3, num_steps=60)
    z = np.asarray(model.encode({"image": x, "mask": mask}, seed=0))
    for row in range(8):
        seen = mask[row] > 0
        precision = np.eye(D) + W[seen].T @ W[seen] / SCALE**2
        mode = np.linalg.solve(precision, W[seen].T @ (x[row, seen] - OFFSET[seen]) / SCALE**2)
        np.testing.assert_allclose(z[row], mode, atol=1e-5)
    inference = {"z": tf.constant(z[np.newaxis]), "mask": tf.constant(mask)}
    np.testing.assert_allclose(model.bound(x, inference), model.log_joint(x, z, mask))
    loss = model.compute_loss({"image": x, "mask": mask}, y_pred=inference)
    np.testing.assert_allclose(loss, -np.mean(model.log_joint(x, z, mask)))
    model = linear_model(chain="persistent", noise=False, step_size=0.1, num_steps=2, num_examples=8)
    start = np.array(model.chains.positions)
    state = short_run.integrate(
        short_run.init(start), lambda z: model.log_joint(x, z, mask), step_size=0.1, num_steps=2, temperature=None
    )
    model.fit({"image": x, "mask": mask, "index": np.arange(8)}, batch_size=8, shuffle=False, verbose=0)
    codes = np.asarray(model.chains.positions)
    np.testing.assert_allclose(codes, state.position, rtol=1e-5)
    assert np.abs(codes - start).max() > 0.01
    error = mask * (codes @ W.T + OFFSET - x) / SCALE**2 / 8
    np.testing.assert_allclose(model.decoder.get_weights()[0], W.T - 1e-3 * codes.T @ error, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.decoder.get_weights()[1], OFFSET - 1e-3 * error.sum(axis=0), rtol=1e-5, atol=1e-7)


@pytest.mark.fast
def test_predictions_are_reconstructions_from_what_is_visible():
    _, x = simulate(6)
    mask = np.tile([1.0, 1, 1, 0, 0, 1], (6, 1))
    model = linear_model(chain="noise", step_size=0.3, num_steps=60)
    expected = model.reconstruct({"image": x, "mask": mask}, seed=0)  # a mode, from whatever start
    np.testing.assert_allclose(model.predict({"image": x, "mask": mask}, verbose=0), expected, atol=1e-5)
    assert np.abs(expected - model.reconstruct(x, seed=0)).max() > 1e-2
    np.testing.assert_allclose(model.predict(x, verbose=0), model.reconstruct(x, seed=0), atol=1e-5)


@pytest.mark.fast
def test_a_mask_of_ones_is_no_mask():
    data = masked_data()
    ones = {**data, "mask": np.ones_like(data["mask"])}
    model = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, num_steps=3, chain="noise", seed=1)
    np.testing.assert_allclose(model.encode(ones, seed=0), model.encode(data["image"], seed=0), rtol=1e-5, atol=1e-6)


WRONG = {
    "another shape": (
        lambda mask: mask[:, :3],
        r"^mask must broadcast to the images' shape \[B, 4, 4, 2\]\. Received: ",
    ),
    "other values": (lambda mask: 0.5 * mask, r"^mask must be 0 \(hidden\) or 1 \(visible\)[^\n]* Received: [^\n]*$"),
    "NaN": (lambda mask: mask * np.nan, r"^mask must be 0 \(hidden\) or 1 \(visible\)[^\n]* Received: [^\n]*$"),
    "blind": (
        lambda mask: mask * (np.arange(9) != 4)[:, None, None, None],
        r"^mask must [^\n]*visible[^\n]* Received: ",
    ),
}


@pytest.mark.fast
@pytest.mark.parametrize("wrong", WRONG)
def test_masks_that_are_none_stop_training_and_inference(wrong):
    make, message = WRONG[wrong]
    data = masked_data()
    data["mask"] = make(data["mask"]).astype(np.float32)
    model = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, num_steps=1, chain="noise", seed=1)
    model.compile(keras.optimizers.SGD(0.0))
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(9)
    for call in (
        lambda: model.fit(data, verbose=0),
        lambda: model.fit(dataset, verbose=0),  # seen in the graph only
        lambda: model.evaluate(dataset, verbose=0),
        lambda: model.encode(data),
        lambda: model.inpaint(data["image"], data["mask"]),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("wrong", ["other values", "blind", None])
def test_such_masks_stop_training_under_xla_too(wrong):
    data = masked_data()
    if wrong is not None:
        data["mask"] = WRONG[wrong][0](data["mask"]).astype(np.float32)
    model = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, num_steps=1, chain="noise", seed=1)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=True)
    dataset = tf.data.Dataset.from_tensor_slices(data).batch(9)
    if wrong is None:
        assert np.isfinite(model.fit(dataset, verbose=0).history["loss"][0])
        return
    with pytest.raises(
        ValueError, match=r"^the loss must stay finite: .*masks.* Received: loss nan at batch 0 of epoch 1"
    ):
        model.fit(dataset, verbose=0)


def test_large_batches_are_measured_under_xla():
    model = tfzoo.create_model("abp", event_shape=(5,), latent_dim=2, num_steps=1, chain="noise", seed=1)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=True)
    images = np.zeros([501, 5], np.float32)
    assert np.isfinite(model.evaluate(images, batch_size=501, verbose=0)[0])


@pytest.mark.fast
def test_a_blind_image_is_counted_and_half_a_mask_is_no_mask():
    model = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, chain="noise")
    with pytest.raises(ValueError, match=r"^mask must leave a pixel of each image visible\. Received: 1 without any$"):
        model.inpaint(np.zeros([2, *SHAPE], np.float32), np.zeros(SHAPE))
    with pytest.raises(ValueError, match=r"Received: 2 without any$"):
        model.inpaint(np.zeros([3, *SHAPE], np.float32), np.reshape([0.0, 1.0, 0.0], (3, 1, 1, 1)))


@pytest.mark.fast
@pytest.mark.parametrize("call", ["fit", "evaluate", "predict", "encode", "log_prob", "anomaly_score"])
def test_what_cannot_do_with_a_part_says_so(call):
    """A mask that was left out in silence would show a model what it must not see."""
    data = masked_data()
    vae = tfzoo.create_model("vae", event_shape=SHAPE, latent_dim=3, likelihood="gaussian")
    vae.compile("sgd")
    with pytest.raises(
        ValueError, match=r"^images must be whole here: [^\n]* Received: a dict with the keys image, mask"
    ):
        getattr(vae, call)(data)
    if call in ("log_prob", "anomaly_score"):
        chain = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, chain="noise")
        with pytest.raises(ValueError, match=r"^images must be whole here: "):
            getattr(chain, call)(data)


@pytest.mark.fast
def test_the_number_of_steps_can_be_chosen():
    _, x = simulate(5)
    model, short = (linear_model(chain="noise", step_size=0.2, num_steps=steps) for steps in (30, 1))
    for method in ("encode", "reconstruct", "anomaly_score"):
        np.testing.assert_allclose(
            getattr(model, method)(x, 0, num_steps=20), getattr(short, method)(x, 0), err_msg=method
        )
    np.testing.assert_allclose(model.interpolate(x, x[::-1], 3, 0, num_steps=20), short.interpolate(x, x[::-1], 3, 0))
    with pytest.raises(ValueError, match=r"^num_steps must be a whole number of at least 1\. Received: 0$"):
        model.encode(x, num_steps=0)
    with pytest.raises(TypeError, match="num_steps"):
        tfzoo.create_model("vae", event_shape=(N,)).reconstruct(np.full([1, N], 0.5), num_steps=3)


def test_an_export_has_a_number_of_steps_of_its_own():
    data, seed = masked_data(), np.arange(18, dtype=np.int32).reshape(9, 2)
    images, mask = data["image"], np.broadcast_to(data["mask"], (9, *SHAPE))
    options = {"chain": "noise", "num_steps": 1, "step_size": 0.3, "num_annealing_steps": 1, "noise": False}
    decoder = keras.Sequential([keras.layers.Dense(32), keras.layers.Reshape(SHAPE)])
    model = tfzoo.create_model("abp", event_shape=SHAPE, latent_dim=3, decoder=decoder, seed=1, **options)
    served = saved_model.signatures(model, num_samples=1, num_points=2, num_steps=4)
    inputs = {"images": tf.constant(images), "seed": tf.constant(seed)}
    found = {
        "encode": served["encode"](**inputs)["z"],
        "reconstruct": served["reconstruct"](**inputs)["images"],
        "anomaly_score": served["score"](**inputs)["score"],
    }
    for method, value in found.items():
        expected = getattr(model, method)(images, seed, num_steps=4)
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5, err_msg=method)
        assert np.abs(value - getattr(model, method)(images, seed)).max() > 1e-3
    completed = served["inpaint"](mask=tf.constant(mask), **inputs)["images"]
    np.testing.assert_allclose(completed, model.inpaint(images, mask, 1, seed, num_steps=4)[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"^num_steps must be a whole number of at least 1\. Received: 0$"):
        saved_model.signatures(model, num_steps=0)
    vae = tfzoo.create_model("vae", event_shape=SHAPE, latent_dim=3)
    with pytest.raises(ValueError, match=r"^num_steps is of models with the signature inpaint\. Received: "):
        saved_model.signatures(vae, num_steps=3)


@pytest.mark.fast
def test_the_deviation_of_completions():
    completions = np.random.default_rng(0).normal(size=(5, 3, 2, 2, 1))
    completions[:, :, 0] = 0.1  # visible
    found = deviation(tf.constant(completions))
    np.testing.assert_allclose(found, completions.std(axis=0, ddof=1))
    np.testing.assert_array_equal(found[:, 0], 0.0)
    with pytest.raises(ValueError, match=r"^completions must be at least 2 for a deviation\. Received: 1$"):
        deviation(tf.constant(completions[:1]))


@pytest.mark.parametrize("name", ["abp", "latent_flow_vae"])
def test_the_deviation_of_posterior_completions_is_the_predictive_one(name, test_seed):
    """Linear-Gaussian: Cov(W z | visible) in closed form; the chain's covariance is A^-1 (1 - s^2 A / 4)^-1."""
    _, x = simulate(1)
    mask, s = np.array([1.0, 1, 1, 0, 0, 1]), 0.2
    seen, hidden = mask > 0, mask == 0
    precision = np.eye(D) + W[seen].T @ W[seen] / SCALE**2
    covariance = np.linalg.inv(precision @ (np.eye(D) - s**2 * precision / 4))
    expected = np.sqrt(np.diag(W[hidden] @ covariance @ W[hidden].T))
    options = {"num_steps": 200, "noise": True}
    if name == "abp":
        model = linear_model(chain="noise", step_size=s)
    else:
        prior, encoder = StandardNormalPrior(2, dtype="float64"), keras.layers.Dense(4, dtype="float64")
        model = linear_model(name, prior=prior, encoder=encoder)
        options["step_size"] = s
    found = deviation(model.inpaint(np.repeat(x, 20, axis=0), mask, 50, test_seed, **options)).numpy()
    np.testing.assert_array_equal(found[:, seen], 0.0)
    # Of 20 rows of 50 normal numbers: the root of their mean square has a standard error of 1 / sqrt(2 * 20 * 49).
    np.testing.assert_allclose(np.sqrt(np.mean(found[:, hidden] ** 2, axis=0)), expected, rtol=4 / np.sqrt(2 * 20 * 49))
