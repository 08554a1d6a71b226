"""Models that infer by short-run Langevin dynamics: their codes, their table of chains, and their training."""

import contextlib
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.models.linear_gaussian import (
    OFFSET,
    POSTERIOR_COVARIANCE,
    SCALE,
    D,
    N,
    W,
    exact_log_prob,
    posterior_mean,
    simulate,
)
from tfzoo import random
from tfzoo.integrators import short_run
from tfzoo.models import persistent_chains, top_down


def linear_model(name="abp", **options):
    """A model whose posterior is known: z ~ N(0, I), x = W z + b + noise."""
    decoder = keras.layers.Dense(N, dtype="float64")
    options = {"chain": "noise"} | options if name == "abp" else options
    model = tfzoo.create_model(
        name, event_shape=(N,), latent_dim=D, scale=SCALE, decoder=decoder, dtype="float64", seed=1, **options
    )
    decoder.set_weights([W.T, OFFSET])
    return model


def examples(count=8, seed=0):
    """Returns data with an index, shuffled, so that a row is not its example's number."""
    _, x = simulate(count, seed)
    order = np.random.default_rng(3).permutation(count)
    return {"image": x[order], "index": order.astype(np.int32)}


def compiled(model, learning_rate=1e-2, **options):
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), **options)
    return model


def positions(model):
    return np.array(model.chains.positions)


# === Inference ===


@pytest.mark.fast
def test_descent_ends_at_the_mode():
    _, x = simulate(5)
    model = linear_model(step_size=0.3, num_steps=30)
    np.testing.assert_allclose(model.encode(x, seed=0), posterior_mean(x), atol=1e-6)


@pytest.mark.fast
def test_descent_takes_twenty_times_the_steps_of_training():
    _, x = simulate(3)
    model = linear_model(step_size=0.05, num_steps=2)
    codes = model.encode(x, seed=0)
    np.testing.assert_array_equal(codes, model.encode(x, seed=0, num_steps=40))
    assert not np.allclose(codes, model.encode(x, seed=0, num_steps=39), rtol=1e-6)


@pytest.mark.fast
def test_both_ends_of_an_interpolation_have_noise_of_their_own():
    _, x = simulate(3)
    model = linear_model(num_steps=1, inference="short_run")
    path = model.interpolate(x, x, 2, seed=0)
    for end, seed in enumerate(random.split(random.as_seed(0))):
        np.testing.assert_allclose(path[:, end], model.reconstruct(x, seed), rtol=1e-10)
    assert not np.allclose(path[:, 0], path[:, 1], rtol=1e-3)


def test_a_long_chain_samples_the_posterior(test_seed):
    """Up to the error of the step: for each principal axis of precision c the variance is 1 / (c (1 - s^2 c / 4))."""
    _, x = simulate(1)
    s = 0.2
    model = linear_model(step_size=s, num_steps=200, inference="short_run")
    z = model.encode(np.repeat(x, 4000, axis=0), test_seed).numpy()
    precision, axes = np.linalg.eigh(np.linalg.inv(POSTERIOR_COVARIANCE))
    along = (z - posterior_mean(x)) @ axes
    variance = 1 / (precision * (1 - s**2 * precision / 4))
    scores = (np.mean(along**2, axis=0) - variance) / (np.std(along**2, axis=0) / np.sqrt(len(z)))
    assert np.all(np.abs(scores) < 4)
    assert np.all(np.abs(along.mean(axis=0)) < 4 * np.sqrt(variance / len(z)))


@pytest.mark.fast
def test_many_images_go_in_chunks_and_one_by_one_alike(monkeypatch):
    monkeypatch.setattr(top_down, "_CHUNK", 5)
    _, x = simulate(12)
    model = linear_model(step_size=0.2, num_steps=2, inference="short_run")
    seeds = np.stack([np.arange(12), np.arange(12)], axis=-1)
    together = model.encode(x, seeds)
    for rows in (slice(0, 1), slice(4, 6), slice(9, 12)):
        np.testing.assert_allclose(model.encode(x[rows], seeds[rows]), together[rows], rtol=1e-10)


def test_annealed_log_prob_agrees_with_the_exact_likelihood(test_seed):
    _, x = simulate(40)
    difference = linear_model().log_prob(x, 100, test_seed, num_steps=100) - exact_log_prob(x)
    assert np.std(difference) < 0.2
    assert abs(np.mean(difference)) < 4 * np.std(difference) / np.sqrt(40)


@pytest.mark.fast
def test_inpainting_is_the_conditional_mean_of_what_is_hidden():
    _, x = simulate(4)
    mask = np.array([1.0, 1, 1, 0, 0, 1])
    seen, hidden = mask > 0, mask == 0
    gain = W[hidden] @ W[seen].T @ np.linalg.inv(W[seen] @ W[seen].T + SCALE**2 * np.eye(seen.sum()))
    expected = OFFSET[hidden] + (x[:, seen] - OFFSET[seen]) @ gain.T
    model = linear_model(step_size=0.3, num_steps=50)
    for each in np.asarray(model.inpaint(np.where(mask > 0, x, 99.0), mask, 3, seed=0)):
        np.testing.assert_allclose(each[:, hidden], expected, atol=1e-6)
        np.testing.assert_array_equal(each[:, seen], x[:, seen])
    # From the posterior, completions differ.
    several = linear_model(step_size=0.3, inference="short_run").inpaint(x, mask, 3, seed=0)
    assert np.abs(several[0] - several[1])[:, hidden].min() > 0


@pytest.mark.fast
def test_log_joint_of_what_is_visible():
    z, x = simulate(3)
    model, mask = linear_model(), np.array([1.0, 0, 1, 0, 0, 1])
    squares = np.sum(mask * (x - z @ W.T - OFFSET) ** 2, axis=-1)
    expected = -0.5 * squares / SCALE**2 - 3 * np.log(SCALE * np.sqrt(2 * np.pi))
    expected += -0.5 * np.sum(z**2, axis=-1) - np.log(2 * np.pi)
    np.testing.assert_allclose(model.log_joint(x, z, mask), expected)
    np.testing.assert_allclose(model.log_joint(np.where(mask > 0, x, 7.0), z, mask), expected)
    binary = tfzoo.create_model("abp", event_shape=(N,), latent_dim=D, likelihood="bernoulli", chain="noise")
    halves = [binary.log_joint(np.full([3, N], 0.5), z, each) - binary.prior().log_prob(z) for each in (mask, 1 - mask)]
    np.testing.assert_allclose(sum(halves), binary.likelihood(z).log_prob(tf.fill([3, N], 0.5)), rtol=1e-5)


# === Persistent chains ===


@pytest.mark.fast
def test_an_epoch_moves_each_example_s_own_chain():
    data, model = examples(), compiled(linear_model(chain="persistent", noise=False, num_steps=3), 0.0)
    model.fit(data, batch_size=3, verbose=0, epochs=0)
    start = positions(model)
    assert start.shape == (8, D)  # all that is kept
    assert 0.3 < start.std() < 2
    model.fit(data, batch_size=3, epochs=2, verbose=0)
    for row, index in enumerate(data["index"]):
        state = short_run.integrate(
            short_run.init(start[index]),
            lambda z, x=data["image"][row]: model.log_joint(x[np.newaxis], z[tf.newaxis])[0],
            step_size=model.step_size,
            num_steps=6,
            temperature=None,
        )
        np.testing.assert_allclose(positions(model)[index], state.position, rtol=1e-6)  # Keras feeds float32


@pytest.mark.replicas
def test_two_replicas_learn_what_one_does():
    results = []
    for strategy in (
        tf.distribute.OneDeviceStrategy("CPU:0"),
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()),
    ):
        with strategy.scope():
            model = compiled(linear_model("short_run_ot", noise=False, num_steps=3))
        data = tf.data.Dataset.from_tensor_slices(examples(10)).batch(4)  # a last batch of one each
        history = model.fit(data, epochs=3, verbose=0).history
        copies = strategy.experimental_local_results(model.chains.positions.value)
        for copy in copies[1:]:
            np.testing.assert_array_equal(copy, copies[0])
        results.append((history, copies[0].numpy(), model.decoder.get_weights()))
    (one_history, one_table, one_weights), (history, table, weights) = results
    assert len(copies) == 2
    np.testing.assert_allclose(history["loss"], one_history["loss"], rtol=1e-6)
    np.testing.assert_allclose(history["transport_cost"], one_history["transport_cost"], rtol=1e-6)
    np.testing.assert_allclose(table, one_table, rtol=1e-6)
    for one, other in zip(one_weights, weights, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-6)


@pytest.mark.fast
def test_a_strategy_of_one_device_learns_what_goes_without():
    models = []
    for scope in (contextlib.nullcontext(), tf.distribute.MirroredStrategy(["CPU:0"]).scope()):
        with scope:
            models.append(compiled(linear_model("short_run_ot", noise=False, num_steps=3)))
        models[-1].fit(examples(), shuffle=False, verbose=0)
    one, other = (tf.convert_to_tensor(model.chains.positions) for model in models)
    np.testing.assert_allclose(other, one, rtol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize("name", ["abp", "short_run_ot"])
def test_the_table_is_saved_and_found_again(name, tmp_path):
    model = compiled(linear_model(name, chain="persistent", num_steps=2))
    model.fit(examples(), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(positions(loaded), positions(model))
    loaded.fit(examples(), verbose=0)
    assert np.all(positions(loaded) != positions(model))
    assert tfzoo.create_model(name, event_shape=(3,), num_examples=5).chains.positions.shape == (5, 64)


@pytest.mark.fast
@pytest.mark.parametrize("jit_compile", [False, True])
def test_ways_to_compile(jit_compile):
    model = compiled(linear_model("short_run_ot", num_steps=2), jit_compile=jit_compile)
    assert np.isfinite(model.fit(examples(), epochs=2, verbose=0).history["loss"]).all()


def datasets(x):
    return tf.data.Dataset.from_tensor_slices(x).batch(3)


class Batches(keras.utils.PyDataset):
    """Batches of three, as a user's own class reads them."""

    def __init__(self, x, num_batches=3):
        super().__init__()
        self.x, self.num = x if isinstance(x, tuple) else (x,), num_batches

    @property
    def num_batches(self):
        return self.num

    def __getitem__(self, i):
        return tf.nest.map_structure(lambda part: part[3 * (i % 3) : 3 * (i % 3) + 3], self.x)


@pytest.mark.fast
@pytest.mark.parametrize(
    "data",
    [
        lambda: examples()["image"],
        lambda: {"image": examples()["image"]},
        lambda: datasets(examples()["image"]),
        lambda: datasets({"image": examples()["image"]}),
        lambda: datasets((examples()["image"], np.arange(8))),
        lambda: Batches(examples()["image"]),
    ],
)
def test_data_without_an_index_is_an_error(data):
    model = compiled(linear_model(chain="persistent"))
    with pytest.raises(ValueError, match=r'^persistent chains need data with an "index"[^\n]* Received: [^\n]*$'):
        model.fit(data(), verbose=0)
    compiled(linear_model(num_steps=1)).fit(data(), verbose=0)  # noise goes without


@pytest.mark.fast
def test_other_data_that_no_table_can_take():
    model = compiled(linear_model(chain="persistent", num_examples=6))
    with pytest.raises(ValueError, match=r"^index must be in 0 to 5, a row of [^\n]* Received: another$"):
        model.fit(examples(), verbose=0)
    with pytest.raises(ValueError, match=r"^index must be whole numbers \[B\]\. Received: float64, shape \(8,\)$"):
        compiled(linear_model(chain="persistent")).fit({**examples(), "index": np.arange(8.0)}, verbose=0)
    # In 32 bits these would be rows of the table.
    for large in (2**32, 2**33):
        with pytest.raises(ValueError, match=r"^index must be in 0 to 5, a row of [^\n]* Received: another$"):
            model.fit({**examples(), "index": np.arange(8) % 6 + large}, verbose=0)
    for large in (2**31, 2**32):
        data = {**examples(), "index": np.arange(8) + large}
        for each in (data, datasets(data)):
            with pytest.raises(ValueError, match=rf"^index must be [^\n]* below 2147483647\. Received: {large + 7}$"):
                compiled(linear_model(chain="persistent")).fit(each, verbose=0)


@pytest.mark.fast
def test_without_a_pass_over_the_data_the_number_of_examples_must_be_given():
    def generator():
        yield (examples(),)

    for data, message in [
        (generator(), "for data that is no dict of arrays, tf.data.Dataset or PyDataset. Received: generator"),
        (datasets(examples()).repeat(), "for data without an end. Received: an infinite data set"),
        (Batches(examples(), None), "for data without an end. Received: an infinite PyDataset"),
    ]:
        with pytest.raises(ValueError, match=f"^num_examples must be given {re.escape(message)}$"):
            compiled(linear_model(chain="persistent")).fit(data, steps_per_epoch=1, verbose=0)
        model = compiled(linear_model(chain="persistent", num_examples=8))
        before = positions(model)
        data = generator() if message.endswith("generator") else data  # one that failed is used up
        model.fit(data, steps_per_epoch=1, shuffle=False, verbose=0)
        assert np.any(positions(model) != before)
    with pytest.raises(ValueError, match=r"^num_examples must be given where steps are taken without fit\. Received: "):
        compiled(linear_model(chain="persistent")).train_on_batch(examples())


def test_an_index_beyond_the_table_stops_training_under_xla_too():
    model = compiled(linear_model("short_run_ot", num_steps=1, num_examples=6), jit_compile=True)
    with pytest.raises(ValueError, match=r"^the loss must stay finite: [^\n]*under XLA, for an index beyond the table"):
        model.fit(examples(), verbose=0)


@pytest.mark.fast
def test_weights_bring_the_table_to_a_model_that_has_none(tmp_path):
    model = compiled(linear_model("short_run_ot", num_steps=1))
    model.fit(examples(), verbose=0)
    model.save_weights(tmp_path / "model.weights.h5")
    other = linear_model("short_run_ot", num_steps=1)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(positions(other), positions(model))
    other = linear_model("short_run_ot", num_steps=1)
    linear_model("short_run_ot", num_steps=1).save_weights(tmp_path / "none.weights.h5")
    other.load_weights(tmp_path / "none.weights.h5")
    assert not other.chains.built


@pytest.mark.fast
def test_a_step_size_that_is_set_is_taken():
    _, x = simulate(5)
    model, fresh = linear_model(noise=False, step_size=0.1), linear_model(noise=False, step_size=0.02)
    model.encode(x, seed=1)
    model.step_size = 0.02
    np.testing.assert_allclose(model.encode(x, seed=1), fresh.encode(x, seed=1), rtol=1e-9)


@pytest.mark.fast
def test_forms_of_data_with_an_index():
    x, y = examples(), np.ones(8)
    for data in (
        x,
        datasets(x),
        datasets((x, y)),
        datasets((x, y, y)),
        Batches((x, y)),
        tfzoo.data.load(np.ones([8, N]), batch_size=3),
    ):
        assert persistent_chains.count_examples(data) == 8
    long = datasets({"image": x["image"], "index": x["index"] + 10})
    for data in (x, datasets((x, y))):
        model = compiled(linear_model(chain="persistent", num_steps=1), run_eagerly=True)
        model.fit(data, validation_data=long, verbose=0)  # another split's numbers do not matter
        assert positions(model).shape == (8, D)


@pytest.mark.fast
def test_chains_that_diverge_are_counted_and_do_no_harm():
    steep = keras.Sequential([keras.layers.Lambda(lambda z: tf.exp(20.0 * z)), keras.layers.Dense(6)])
    model = tfzoo.create_model(
        "abp", event_shape=(6,), latent_dim=2, decoder=steep, chain="noise", step_size=0.5, num_steps=3, seed=0
    )
    compiled(model)
    share = model.train_on_batch(np.ones([64, 6], np.float32), return_dict=True)["diverged"]
    assert 0 < share < 1


# === Learning ===


@pytest.mark.parametrize("chain", ["persistent", "noise"])
def test_learning_steps_are_gradient_steps_at_the_inferred_codes(chain):
    data = examples()
    model = compiled(linear_model(chain=chain, noise=False, num_steps=3, num_learning_steps=2), 1e-3)
    before = model.decoder.get_weights()
    model.fit(data, batch_size=8, shuffle=False, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) == 2
    if chain == "noise":
        return
    z = positions(model)[data["index"]]
    kernel, bias = before
    for _ in range(2):
        error = (z @ kernel + bias - data["image"]) / SCALE**2 / 8
        kernel, bias = kernel - 1e-3 * z.T @ error, bias - 1e-3 * error.sum(axis=0)
    np.testing.assert_allclose(model.decoder.get_weights()[0], kernel, rtol=1e-6)
    np.testing.assert_allclose(model.decoder.get_weights()[1], bias, rtol=1e-6)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chain": "replay"}, "chain must be one of persistent, noise"),
        ({"inference": "exact"}, "inference must be one of descent, short_run"),
        ({"step_size": 0.0}, "step_size must be a positive number"),
        ({"num_steps": -1}, "num_steps must be a whole number of at least 0"),
        ({"num_learning_steps": 0}, "num_learning_steps must be a whole number of at least 1"),
        ({"chain": "persistent", "num_examples": 0}, "num_examples must be a whole number of at least 1"),
    ],
)
def test_arguments_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"^{message}.*Received: "):
        linear_model(**options)


@pytest.mark.fast
def test_there_is_no_density_of_a_chain():
    with pytest.raises(NotImplementedError, match="not tractable: take samples"):
        linear_model().posterior(simulate(2)[1])
