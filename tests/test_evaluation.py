"""What `evaluate` reports is what the library's own functions give."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfzoo
from tests.distributions.energies import Quadratic
from tfzoo import evaluation, metrics, random
from tfzoo.distributions import EnergyPrior
from tfzoo.objectives import importance


@pytest.fixture(scope="module")
def model() -> tfzoo.models.VAE:
    keras.utils.set_random_seed(0)
    return tfzoo.create_model("vae", event_shape=(6,), latent_dim=2, likelihood="gaussian", scale=0.7, seed=0)


@pytest.fixture(scope="module")
def images(model: tfzoo.models.VAE) -> np.ndarray:
    return np.asarray(model.likelihood(model.prior().sample(30, seed=[0, 1])).sample(seed=[0, 2]))


@pytest.fixture(scope="module")
def dataset(images: np.ndarray) -> tf.data.Dataset:
    labels = (images[:, 0] > 0).astype(np.int32)
    elements = {"image": images, "label": labels, "index": np.arange(30, dtype=np.int32)}
    return tf.data.Dataset.from_tensor_slices(elements).batch(12)


def test_nll_is_the_mean_of_the_importance_estimates(model, images, dataset) -> None:
    (report,) = evaluation.evaluate(model, dataset, ["nll"], num_samples=50, seed=3).values()
    values = [
        importance.log_prob(
            functools.partial(model.log_joint, x),
            model.posterior(x),
            num_samples=50,
            chunk_size=32,
            seed=random.fold_in(random.as_seed(3), i),
        )
        for i, x in enumerate((images[:12], images[12:24], images[24:]))
    ]
    values = np.concatenate(values)
    assert report["nll"] == pytest.approx(-values.mean(), abs=1e-4)
    assert report["standard_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(30), rel=1e-4)
    assert report["num_images"] == 30
    assert 0 < report["sampling_error"] < report["standard_error"]
    assert report["sampling_error"] == pytest.approx(sampling_error(model, dataset, num_samples=50, seed=3), rel=1e-3)


def sampling_error(model, dataset, *, num_samples, seed) -> float:
    """Returns the standard error of the mean over images, from that of each image's estimate."""
    variances = []
    for i, batch in enumerate(dataset):
        noise = random.fold_in(random.as_seed(seed), i)
        estimate = model.estimate_log_prob(batch["image"], num_samples, noise, chunk_size=32)
        variances.extend(np.asarray(estimate.standard_error) ** 2)
    return np.sqrt(np.sum(variances)) / len(variances)


def test_mse_is_per_pixel(model, images, dataset) -> None:
    (report,) = evaluation.evaluate(model, dataset, ["mse"]).values()
    assert report["mse"] == pytest.approx(np.mean((images - model.reconstruct(images)) ** 2), rel=1e-5)


@pytest.mark.parametrize("dtype", ["float64", "mixed_float16"])
def test_the_default_metrics_are_of_models_of_every_precision(dtype, model, dataset) -> None:
    options = {"event_shape": (6,), "latent_dim": 2, "likelihood": "gaussian", "scale": 0.7, "seed": 0}
    other = tfzoo.create_model("vae", dtype=dtype, **options)
    other.set_weights(model.get_weights())
    names = evaluation.default_metrics(other)
    expected, found = (evaluation.evaluate(each, dataset, names, num_samples=20) for each in (model, other))
    for name in names:
        assert found[name][name] == pytest.approx(expected[name][name], rel=0.3)  # the codes' noise is another


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "labels", "sentence"),
    [
        ("f1", [3] * 30, r"^f1 learns from the first half .* two classes\. Received: \[3\] only$"),
        ("f1", [0, 1] * 14 + [0, 2], r"^f1 learns from the first half .* training classes\. Received: \[2\] besides$"),
        ("auprc", [1] * 30, r"^auprc needs images of the label 1, .* Received: 1 only$"),
        ("auprc", [0] * 30, r"^auprc needs images of the label 1, .* Received: 0 only$"),
        ("fid", [0, 1] * 15, "^the network cannot be had$"),
        ("inception_score", [0, 1] * 15, "^the network cannot be had$"),
    ],
)
def test_what_can_be_looked_at_is_before_any_work(name, labels, sentence, model, images, monkeypatch) -> None:
    def missing() -> None:
        raise ValueError("the network cannot be had")

    monkeypatch.setattr(evaluation.tfzoo_metrics, "inception_v3", missing)
    elements = {"image": images, "label": np.array(labels), "index": np.arange(30, dtype=np.int32)}
    dataset = tf.data.Dataset.from_tensor_slices(elements).batch(12)
    work = lambda *_: pytest.fail("hours of work")  # noqa: E731
    with pytest.raises(ValueError, match=sentence):
        evaluation.evaluate(model, dataset, ["mse", name], held_out=1, progress=work)


def test_one_image_has_no_covariance(model, dataset) -> None:
    one = evaluation.subset(dataset, 1, batch_size=1)
    with pytest.raises(ValueError, match=r"^fid needs two images at least\. Received: 1$"):
        evaluation.evaluate(model, one, ["fid"])


def test_images_that_are_not_for_the_feature_network_are_refused_before_any_work(model, dataset) -> None:
    network = metrics.classifier("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation.tfzoo_metrics, "inception_v3", lambda: network)
        with pytest.raises(ValueError, match=r"Received: "):
            evaluation.evaluate(model, dataset, ["mse", "fid"], progress=lambda *_: pytest.fail("hours of work"))


def test_each_metric_is_told_as_it_is_done(model, dataset, monkeypatch) -> None:
    def diverges(self) -> None:
        raise ArithmeticError

    monkeypatch.setattr(evaluation._Session, "nll", diverges)
    told = {}
    with pytest.raises(ArithmeticError):
        evaluation.evaluate(model, dataset, ["mse", "nll"], done=told.__setitem__)
    assert told["mse"]["mse"] > 0
    assert list(told) == ["mse"]


# A flow makes the proposal better, so that fewer samples do.
@pytest.mark.parametrize(
    ("name", "num_samples"), [("vae", 5000), pytest.param("langevin_vae", 1000, marks=pytest.mark.slow)]
)
def test_ais_agrees_with_importance_sampling_and_certifies_itself(name, num_samples, model, dataset) -> None:
    decoder = model.decoder.get_weights()
    model = tfzoo.create_model(name, event_shape=(6,), latent_dim=2, likelihood="gaussian", scale=0.7, seed=0)
    model.decoder.set_weights(decoder)  # the one that the data come from
    annealing = evaluation.Annealing(num_images=30, num_steps=40, num_chains=16)
    reports = evaluation.evaluate(model, dataset, ["nll", "ais"], num_samples=num_samples, annealing=annealing)
    ais = reports["ais"]
    if name != "vae":
        assert "from q(z|x) and 5 steps, 1000 samples" in reports["nll"]["estimator"]
    # Both are close to log p(x) on this small model, on the same images.
    assert ais["ais"] == pytest.approx(reports["nll"]["nll"], abs=0.1)
    assert ais["bdmc_gap"] + 4 * ais["bdmc_gap_standard_error"] >= 0
    assert ais["bdmc_gap"] < 0.3
    assert 0.4 < ais["acceptance"] <= 1


@pytest.fixture(scope="module")
def chain_model(model: tfzoo.models.VAE) -> tfzoo.models.ABP:
    options = {"likelihood": "gaussian", "scale": 0.7, "num_steps": 3, "step_size": 0.1, "seed": 0}
    chain_model = tfzoo.create_model("abp", event_shape=(6,), latent_dim=2, **options)
    chain_model.decoder.set_weights(model.decoder.get_weights())
    return chain_model


def test_auprc_is_that_of_the_scores(model, images, dataset) -> None:
    report = evaluation.evaluate(model, dataset, ["auprc"], held_out=1)["auprc"]
    expected = metrics.auprc(images[:, 0] > 0, model.anomaly_score(images))
    assert report["auprc"] == pytest.approx(expected.auprc, abs=1e-6)
    assert (report["base_rate"], report["floor"]) == (expected.base_rate, expected.floor)
    assert report["deviation"] is None  # the scores of this model have no noise: one run
    assert len(report["runs"]) == 1
    assert (
        f"label 1 held out, 30 images, 1 run, without noise; base rate {expected.base_rate:.3f}" in report["estimator"]
    )


def test_auprc_of_a_chain_varies_from_run_to_run(chain_model, dataset) -> None:
    steps = []
    report, again = (
        evaluation.evaluate(
            chain_model,
            dataset,
            ["auprc"],
            held_out=1,
            num_runs=4,
            seed=seed,
            progress=lambda *_: lambda: steps.append(1),
        )["auprc"]
        for seed in (3, 3)
    )
    assert report == again
    assert len(steps) == 2 * 4 * 3
    assert len(set(report["runs"])) > 1
    assert report["auprc"] == pytest.approx(np.mean(report["runs"]))
    assert report["deviation"] == pytest.approx(np.std(report["runs"], ddof=1))
    assert 0 < report["standard_error"] < 0.5
    assert "one code an image by descent; label 1 held out, 30 images, 4 runs, deviation 0." in report["estimator"]


def test_ais_under_an_energy_is_normalised_and_certifies_nothing(model, dataset) -> None:
    options = {"likelihood": "gaussian", "scale": 0.7, "num_steps": 3, "num_annealing_steps": 30, "seed": 0}
    # N(0, I / 4) but for its constant; its chain is too short for samples of it.
    prior = EnergyPrior(2, energy=Quadratic(3.0), num_steps=3)
    energy_model = tfzoo.create_model("latent_ebm", event_shape=(6,), latent_dim=2, prior=prior, **options)
    energy_model.decoder.set_weights(model.decoder.get_weights())
    annealing = evaluation.Annealing(num_images=10, num_steps=30, num_chains=16)
    report = evaluation.evaluate(energy_model, dataset, ["ais"], annealing=annealing)["ais"]
    images = next(iter(evaluation.subset(dataset, 10, batch_size=10)))["image"]
    z = tf.repeat(0.5 * tf.random.stateless_normal([5000, 1, 2], [0, 5]), 10, axis=1)
    exact = tf.reduce_logsumexp(energy_model.likelihood(z).log_prob(images), axis=0) - np.log(5000)
    assert report["ais"] == pytest.approx(-np.mean(exact), abs=0.1)
    assert "bdmc_gap" not in report
    assert "from N(0, I)" in report["estimator"]
    assert report["estimator"].endswith("an estimate, without a certificate")


def test_ais_of_a_chain_starts_from_the_prior(chain_model, dataset) -> None:
    annealing = evaluation.Annealing(num_images=10, num_steps=30, num_chains=16)
    report = evaluation.evaluate(chain_model, dataset, ["ais"], annealing=annealing)["ais"]
    images = next(iter(evaluation.subset(dataset, 10, batch_size=10)))["image"]
    z = tf.repeat(chain_model.prior().sample(5000, seed=[0, 5])[:, tf.newaxis], 10, axis=1)
    log_likelihood = chain_model.log_joint(images, z) - chain_model.prior().log_prob(z)
    exact = tf.reduce_logsumexp(log_likelihood, axis=0) - np.log(5000)
    assert "from the prior" in report["estimator"]
    assert report["ais"] == pytest.approx(-np.mean(exact), abs=0.1)
    assert abs(report["bdmc_gap"]) < 0.3


def test_the_gap_is_the_upper_bound_less_the_lower_one(model, dataset) -> None:
    """Without a temperature in between, and far from the posterior, they are far apart."""
    options = {"event_shape": (6,), "latent_dim": 2, "likelihood": "gaussian", "scale": 0.01, "seed": 0}
    sharp = tfzoo.create_model("vae", **options)
    sharp.decoder.set_weights(model.decoder.get_weights())
    annealing = evaluation.Annealing(num_images=30, num_steps=1, num_chains=1)
    report = evaluation.evaluate(sharp, dataset, ["ais"], annealing=annealing)["ais"]
    assert report["bdmc_gap"] > 4 * report["bdmc_gap_standard_error"] > 0


def test_batches_of_generated_images_are_not_the_same_ones(monkeypatch) -> None:
    seen = []
    score = metrics.inception_score
    monkeypatch.setattr(
        evaluation.tfzoo_metrics, "inception_score", lambda p, **options: seen.append(p) or score(p, **options)
    )
    model = tfzoo.create_model("vae", event_shape=(8, 8, 1), latent_dim=2, seed=0)
    dataset = tfzoo.data.load("digits", "test", batch_size=100)
    evaluation.evaluate(model, dataset, ["inception_score"], dataset_name="digits", num_generated=600)
    assert len(np.unique(seen[0], axis=0)) > 590  # they are made 500 at a time


@pytest.mark.parametrize(("count", "splits"), [(200, 10), (35, 3), (19, 1), (2, 1)])
def test_inception_scores_error_is_over_splits_of_several_images(count: int, splits: int) -> None:
    model = tfzoo.create_model("vae", event_shape=(8, 8, 1), latent_dim=2, seed=0)
    dataset = tfzoo.data.load("digits", "test", batch_size=100)
    options = {"dataset_name": "digits", "num_generated": count, "seed": 3}
    report = evaluation.evaluate(model, dataset, ["inception_score"], **options)["inception_score"]
    samples = model.sample(500, random.fold_in(random.as_seed(3), 10_000))[:count]
    probabilities = np.array_split(metrics.classifier("digits").probabilities(samples), splits)
    scores = [metrics.inception_score(each, num_splits=1).mean for each in probabilities]
    assert report["inception_score"] == pytest.approx(np.mean(scores), rel=1e-4)
    error = np.std(scores, ddof=1) / np.sqrt(splits) if splits > 1 else None
    assert report["standard_error"] == (error if error is None else pytest.approx(error, rel=1e-2))
    assert report["estimator"].endswith(f"{count} samples in {splits} split{'s' if splits > 1 else ''}")


@pytest.mark.fast
@pytest.mark.parametrize("name", ["elbo", "nll"])
def test_what_needs_an_encoder_names_the_way_out(name, chain_model, dataset) -> None:
    with pytest.raises(ValueError, match=rf"^{name} needs a model with an encoder: ais .* Received: {name} of ABP$"):
        evaluation.evaluate(chain_model, dataset, ["mse", name])
    assert evaluation.default_metrics(chain_model) == ["mse"]


@pytest.mark.fast
def test_auprc_without_a_held_out_class_is_one_sentence(model, dataset) -> None:
    assert evaluation.default_metrics(model) == ["elbo", "nll", "mse"]
    with pytest.raises(ValueError, match=r"^auprc needs .* --held-out LABEL\. Received: one trained on all$"):
        evaluation.evaluate(model, dataset, ["auprc"])


def test_progress_counts_every_batch(model, dataset) -> None:
    seen: dict[str, list[int]] = {}

    def progress(name: str, steps: int):
        seen[name] = [steps, 0]

        def step() -> None:
            seen[name][1] += 1

        return step

    evaluation.evaluate(model, dataset, ["elbo", "mse"], progress=progress)
    assert seen == {"elbo": [3, 3], "mse": [3, 3]}


@pytest.mark.fast
def test_unknown_metric_is_named(model, dataset) -> None:
    with pytest.raises(ValueError, match="Received: 'nil'"):
        evaluation.evaluate(model, dataset, ["nll", "nil"])


def test_a_subset_is_random_and_always_the_same(dataset) -> None:
    chosen = [np.asarray(batch["index"]) for batch in evaluation.subset(dataset, 11, batch_size=4)]
    assert [len(batch) for batch in chosen] == [4, 4, 3]
    chosen = np.concatenate(chosen)
    assert len(set(chosen)) == 11
    assert list(chosen) == sorted(chosen)
    assert chosen.max() > 20  # not the first ones
    again = np.concatenate([np.asarray(batch["index"]) for batch in evaluation.subset(dataset, 11, batch_size=30)])
    np.testing.assert_array_equal(again, chosen)
    assert len(evaluation.subset(dataset, 11, batch_size=4)) == 3
    with pytest.raises(ValueError, match="at most 30, the size of the split"):
        evaluation.subset(dataset, 31, batch_size=4)


def test_a_subset_for_auprc_has_the_share_of_the_held_out_class() -> None:
    labels = np.array([7, 7, 7, 1, 2, 3, 4, 5, 6, 8] * 5, np.int32)
    elements = {"image": np.zeros([50, 1]), "label": labels, "index": np.arange(50, dtype=np.int32)}
    dataset = tf.data.Dataset.from_tensor_slices(elements).batch(12)
    for count in (10, 20, 33, 50):
        chosen = np.concatenate(
            [batch["label"] for batch in evaluation.subset(dataset, count, batch_size=7, held_out=7)]
        )
        assert len(chosen) == count
        assert np.count_nonzero(chosen == 7) == round(0.3 * count)


def test_values_of_each_image_come_with_their_indices(model, images, dataset) -> None:
    (report,) = evaluation.evaluate(model, evaluation.subset(dataset, 9, batch_size=4), ["mse"]).values()
    indices, values = report["per_image"]
    exact = np.mean((images - model.reconstruct(images)) ** 2, axis=1)
    np.testing.assert_allclose(values, exact[indices], rtol=1e-5)
    assert report["mse"] == pytest.approx(np.mean(values), rel=1e-6)


def test_paired_differences_count_shared_images_only() -> None:
    first, second = {1: 3.0, 2: 5.0, 4: 9.0, 7: 0.0}, {2: 4.0, 4: 6.0, 7: 1.0, 8: 100.0}
    difference, error, count = evaluation.paired_difference(first, second)
    assert (difference, count) == (1.0, 3)
    assert error == pytest.approx(np.std([1.0, 3.0, -1.0], ddof=1) / np.sqrt(3))
    lost = {**second, 4: -np.inf}
    assert evaluation.paired_difference(first, lost) == (0.0, 1.0, 2)
    with pytest.raises(ValueError, match="Received: 1 in common"):
        evaluation.paired_difference({1: 0.0, 2: 0.0}, {2: 1.0, 3: 1.0})


def test_images_whose_chains_all_diverge_are_counted_and_left_out(dataset) -> None:
    model = tfzoo.create_model(
        "langevin_vae", event_shape=(6,), latent_dim=2, likelihood="gaussian", scale=1e-2, num_steps=60, step_size=0.3
    )
    report = evaluation.evaluate(model, dataset, ["elbo"], seed=3)["elbo"]
    assert 0 < report["num_diverged_images"] <= 30
    assert report["num_diverged_images"] + report["num_images"] == 30


def test_a_single_image_has_no_error(model, dataset) -> None:
    report = evaluation.evaluate(model, evaluation.subset(dataset, 1, batch_size=4), ["mse"])["mse"]
    assert report["standard_error"] is None
    assert report["num_images"] == 1


def test_resized_images_are_not_for_the_classifier_of_their_data_set(monkeypatch) -> None:
    model = tfzoo.create_model("vae", event_shape=(4, 4, 1), latent_dim=2)
    dataset = tfzoo.data.load("digits", "test", batch_size=100, image_size=4)
    monkeypatch.setattr(
        evaluation.tfzoo_metrics, "inception_v3", lambda: (_ for _ in ()).throw(ImportError("Inception"))
    )
    with pytest.raises(ImportError, match="Inception"):
        evaluation.evaluate(model, dataset, ["fid"], dataset_name="digits")
