"""The transport correction: what it does to the codes, and when."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize
from scipy.spatial import distance

import tfzoo
from tests.models.test_models_mcmc import compiled, examples, linear_model, positions

pytestmark = pytest.mark.fast


def targets(model):
    """The samples of the prior that a correction takes."""
    seed = tfzoo.random.fold_in(tfzoo.random.as_seed(model.seed), 1)
    return model.prior().sample(model.chains.num_examples, seed=seed).numpy()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_codes_move_towards_their_matches(alpha):
    model = compiled(linear_model("short_run_ot", alpha=alpha, num_examples=60))
    before, samples = positions(model), targets(model)
    _, columns = optimize.linear_sum_assignment(distance.cdist(before, samples, "sqeuclidean"))
    solution = model.correct()
    np.testing.assert_array_equal(solution.assignment, columns)
    np.testing.assert_allclose(solution.cost, np.mean(np.sum((before - samples[columns]) ** 2, axis=-1)), rtol=1e-6)
    np.testing.assert_allclose(positions(model), alpha * samples[columns] + (1 - alpha) * before, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_moved_codes_keep_their_matches_and_the_next_matching_knows(alpha):
    options = {"event_shape": (3,), "latent_dim": 12, "decoder": keras.layers.Dense(3), "num_examples": 400, "seed": 1}
    model = compiled(tfzoo.create_model("short_run_ot", alpha=alpha, **options))
    first = model.correct()
    second = model.correct()
    assert int(second.num_iterations) < 0.1 * int(first.num_iterations)
    assert second.converged
    np.testing.assert_allclose(second.cost, (1 - alpha) ** 2 * first.cost, rtol=1e-3, atol=1e-9)


def test_without_a_correction_it_is_alternating_back_propagation():
    histories = []
    for name in ("abp", "short_run_ot"):
        options = {"chain": "persistent"} if name == "abp" else {"alpha": 0.0}
        model = compiled(linear_model(name, num_steps=3, **options))
        histories.append(model.fit(examples(), batch_size=4, shuffle=False, epochs=3, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-12)


def test_after_a_correction_the_generator_learns_from_the_corrected_codes():
    data = examples()
    model = compiled(linear_model("short_run_ot", alpha=1.0, noise=False, num_steps=3), 1e-3)
    model.fit(data, batch_size=8, epochs=1, verbose=0)  # ends with a correction
    z, (kernel, bias) = positions(model)[data["index"]], model.decoder.get_weights()
    np.testing.assert_allclose(np.sort(z, axis=0), np.sort(targets(model), axis=0))  # all of them samples
    model.fit(data, batch_size=8, shuffle=False, epochs=1, verbose=0)
    error = (z @ kernel + bias - data["image"]) / model.likelihood_layer.scale**2 / 8
    np.testing.assert_allclose(model.decoder.get_weights()[0], kernel - 1e-3 * z.T @ error, rtol=1e-6)


def test_corrections_come_every_so_many_epochs_and_between_them_inference_comes_first():
    model = compiled(linear_model("short_run_ot", correction_interval=2, num_steps=2))
    seen = []
    callback = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((float(model.corrected), logs["transport_cost"]))
    )
    history = model.fit(examples(), epochs=5, verbose=0, callbacks=[callback]).history
    assert [flag for flag, _ in seen] == [0, 1, 0, 1, 0]
    costs = history["transport_cost"]
    assert np.isnan(costs[0])
    assert costs[1] == costs[2] != costs[3] == costs[4]


def test_corrections_come_as_often_where_fit_is_called_for_each_epoch():
    at_once, one_by_one = (compiled(linear_model("short_run_ot", correction_interval=3, num_steps=2)) for _ in range(2))
    at_once.fit(examples(), epochs=7, shuffle=False, verbose=0)
    costs = [
        one_by_one.fit(examples(), epochs=1, shuffle=False, verbose=0).history["transport_cost"][0] for _ in range(7)
    ]
    assert np.isfinite(costs).tolist() == [False, False, True] * 2 + [False]
    np.testing.assert_allclose(positions(one_by_one), positions(at_once), rtol=1e-6)


def test_fixed_samples_stay_and_fresh_ones_do_not():
    for target, same in (("fixed", True), ("fresh", False)):
        model = compiled(linear_model("short_run_ot", alpha=1.0, target=target, num_examples=8, num_steps=1))
        model.correct()
        first = positions(model)
        model.optimizer.iterations.assign(7)
        model.correct()
        assert np.array_equal(np.sort(first, axis=0), np.sort(positions(model), axis=0)) == same


def test_corrections_bring_the_codes_closer_to_the_prior():
    """On a linear generator; what it is worth on images, benchmarks/short_run_ot.py shows."""
    data = examples(200)
    costs = {}
    for alpha in (0.0, 0.5):
        model = compiled(linear_model("short_run_ot", alpha=alpha, num_steps=5, step_size=0.1), 1e-3)
        costs[alpha] = model.fit(data, batch_size=50, epochs=12, verbose=0).history["transport_cost"]
    assert costs[0.5][-1] < costs[0.5][0]
    assert costs[0.5][-1] < costs[0.0][-1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, "alpha must be a number from 0 to 1"),
        ({"alpha": float("nan")}, "alpha must be a number from 0 to 1"),
        ({"correction_interval": 0}, "correction_interval must be a whole number of at least 1"),
        ({"target": "both"}, "target must be one of fixed, fresh"),
        ({"chain": "noise"}, "chain must be persistent"),
    ],
)
def test_arguments_out_of_range_are_errors(options, message):
    with pytest.raises(ValueError, match=f"^{message}.*Received: "):
        linear_model("short_run_ot", **options)


def test_there_is_nothing_to_correct_before_training():
    with pytest.raises(ValueError, match=r"^codes must be inferred before they are corrected.*Received: none$"):
        linear_model("short_run_ot").correct()


def test_a_prior_of_any_kind_that_can_be_sampled():
    @keras.saving.register_keras_serializable("tests")
    class Shifted(tfzoo.distributions.StandardNormalPrior):
        def distribution(self):
            shift = tf.constant(5.0, self.variable_dtype)
            base = super().distribution()
            return type(base)(type(base.distribution)(base.distribution.loc + shift, 1.0), 1)

    model = compiled(linear_model("short_run_ot", alpha=1.0, num_examples=50, prior=Shifted(2, dtype="float64")))
    model.correct()
    assert abs(positions(model).mean() - 5) < 0.5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_codes_of_half_precision_are_corrected(dtype):
    model = tfzoo.create_model("short_run_ot", event_shape=(3,), latent_dim=2, num_steps=1, dtype=dtype, seed=1)
    model.compile(keras.optimizers.SGD(1e-3))
    data = {"image": np.random.default_rng(0).normal(size=(20, 3)).astype(dtype), "index": np.arange(20)}
    assert np.all(np.isfinite(model.fit(data, epochs=2, verbose=0).history["transport_cost"]))
