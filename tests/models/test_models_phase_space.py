"""The Hamiltonian and the Langevin VAE against the exact likelihood, the VAE, and central differences."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats
from tensorflow_probability import distributions as tfd

import tfzoo
from tests.models.linear_gaussian import SCALE, D, N, exact_log_prob, mean_and_error, model_of, simulate
from tfzoo.integrators import leapfrog

pytestmark = pytest.mark.fast

FLOWS = {
    "langevin": ("langevin_vae", {"damping": 0.7}),
    "langevin, no damping": ("langevin_vae", {"damping": 0.0}),
    "langevin, noise": ("langevin_vae", {"damping": 0.7, "noise": True}),
    "langevin, noise, no damping": ("langevin_vae", {"damping": 0.0, "noise": True}),
    "langevin, T0 = 1.5": ("langevin_vae", {"damping": 0.7, "initial_temperature": 1.5}),
    "langevin, T0 learned": ("langevin_vae", {"damping": 0.7, "initial_temperature": None}),
    "langevin, damping learned": ("langevin_vae", {"damping": None, "initial_temperature": None}),
    "langevin, annealed": ("langevin_vae", {"damping": 0.7, "annealed": True}),
    "langevin, steps learned": ("langevin_vae", {"damping": 0.7, "step_size_per_step": True}),
    "hamiltonian": ("hamiltonian_vae", {"tempering": "none"}),
    "hamiltonian, fixed": ("hamiltonian_vae", {"tempering": "fixed"}),
    "hamiltonian, free": ("hamiltonian_vae", {"tempering": "free"}),
    "hamiltonian, annealed": ("hamiltonian_vae", {"annealed": True}),
}


@pytest.fixture(params=FLOWS)
def flow(request):
    """Returns a factory of linear-Gaussian models of one kind."""
    name, options = FLOWS[request.param]
    return lambda **others: model_of(name, **{"num_steps": 3, **options, **others})


def log_weights(model, x, count, seed):
    """Returns sampled log weights [count, B]."""
    x = tf.constant(x)
    draw = tf.function(
        lambda: model._log_weights(x, model._draw(x, model._posterior(x), count, model._as_seed(seed), "sampled")),
        autograph=False,
    )
    return draw().numpy()


def test_weights_are_unbiased(flow, test_seed):
    _, x = simulate(4)
    model = flow(shift=0.3, widen=1.5)
    weights = np.exp(log_weights(model, x, 40_000, test_seed) - exact_log_prob(x))
    mean, error = mean_and_error(weights)
    assert np.all(np.abs(mean - 1.0) <= 4 * error)
    assert np.all(error < 0.05)


def test_log_prob_agrees_with_the_exact_likelihood_and_elbo_is_below(flow, test_seed):
    _, x = simulate(4)
    model = flow(shift=0.3, widen=1.5)
    estimate = model.estimate_log_prob(x, 5000, test_seed)
    assert np.all(np.abs(estimate.log_prob - exact_log_prob(x)) <= 4 * estimate.standard_error)
    np.testing.assert_array_equal(model.log_prob(x, 5000, test_seed), estimate.log_prob)
    many = np.repeat(x[:1], 4000, axis=0)
    mean, error = mean_and_error(model.elbo(many, 1, test_seed))
    assert mean + 4 * error < exact_log_prob(x[:1])


@pytest.mark.parametrize("printed", ["eq. 11", "algorithm 1"])
def test_with_the_papers_volume_the_weights_would_be_biased(printed, test_seed):
    """Eq. 11 adds K nu t to the bound, algorithm 1 takes K nu t from it: right is to take K D nu t."""
    _, x = simulate(1)
    model = model_of("langevin_vae", damping=0.7, num_steps=3, shift=0.3, widen=1.5)
    path = 3 * 0.7 * 0.2  # K nu t
    printed_volume = {"eq. 11": path, "algorithm 1": -path}[printed]
    weights = np.exp(log_weights(model, x, 40_000, test_seed) - exact_log_prob(x) + D * path + printed_volume)
    mean, error = mean_and_error(weights)
    assert mean - 1.0 > 10 * error


@pytest.mark.parametrize("estimator", ["analytic_kl", "analytic_entropy", "sampled"])
@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
@pytest.mark.parametrize("annealed", [False, True])
def test_without_steps_it_is_the_vae_sample_by_sample(name, estimator, annealed, test_seed):
    _, x = simulate(5)
    vae = model_of("vae", estimator=estimator, num_samples=3)
    flow = model_of(name, estimator=estimator, num_samples=3, num_steps=0, annealed=annealed)
    for method in ("call", "bound", "elbo", "log_prob", "encode"):
        results = []
        for model in (vae, flow):
            inference = model(x, seed=test_seed)
            result = {
                "call": lambda i=inference: i["z"],
                "bound": lambda m=model, i=inference: m.bound(tf.constant(x), i),
                "elbo": lambda m=model: m.elbo(x, 4, test_seed),
                "log_prob": lambda m=model: m.log_prob(x, 4, test_seed),
                "encode": lambda m=model: m.encode(x),
            }[method]()
            results.append(result)
        np.testing.assert_allclose(*results, rtol=1e-14, err_msg=method)
    np.testing.assert_array_equal(flow.posterior(x).mean(), vae.posterior(x).mean())


def test_tempering_cancels():
    """D/2 log T0 of the momentum's density against the log-determinant: the bound does not see them."""
    for tempering in ("fixed", "free"):
        model = model_of("hamiltonian_vae", tempering=tempering, num_steps=3)
        temperature = model._initial_temperature()
        assert temperature > 1.2
        state = leapfrog.integrate(
            leapfrog.init(np.zeros([1, D]), np.ones([1, D])),
            lambda z: -tf.reduce_sum(z**2, -1),
            step_size=0.1,
            num_steps=3,
            tempering=model._factors(),
        )
        np.testing.assert_allclose(state.log_det + 0.5 * D * np.log(temperature), 0.0, atol=1e-12)
    np.testing.assert_allclose(model_of("hamiltonian_vae", tempering="fixed")._initial_temperature(), 1.5, rtol=1e-6)


def test_temperature_of_the_paper_costs_what_it_should():
    """T0 = 1.5 without steps that cool it: D/2 (T0 - 1 - log T0) nats, whatever the model."""
    model = model_of("langevin_vae", damping=0.0, num_steps=1, initial_temperature=1.5, step_size=0.0101, widen=1.0)
    cold = model_of("langevin_vae", damping=0.0, num_steps=1, step_size=0.0101, widen=1.0)
    _, x = simulate(1)
    many = np.repeat(x, 20_000, axis=0)
    gap, error = mean_and_error(np.asarray(cold.elbo(many, 1, 1)) - np.asarray(model.elbo(many, 1, 1)))
    assert abs(gap - D / 2 * (0.5 - np.log(1.5))) <= 4 * error + 1e-3


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
def test_the_estimators_have_one_mean_and_one_gradient(name, test_seed):
    _, x = simulate(1)
    many = tf.constant(np.repeat(x, 4000, axis=0))
    results, gradients = [], []
    for estimator in ("analytic_kl", "sampled", "analytic_entropy"):
        model = model_of(name, estimator=estimator, shift=0.3, widen=1.5, num_steps=2)
        with tf.GradientTape() as tape:
            bound = model.bound(many, model(many, seed=test_seed))
            loss = tf.reduce_mean(bound)
        weight = model.posterior_layer.scale.bias
        gradients.append(tape.gradient(loss, weight.value))
        results.append(mean_and_error(bound))
    for mean, error in results[1:]:
        assert abs(mean - results[0][0]) <= 4 * np.hypot(error, results[0][1])
    # 0.5 |noise|^2 has no gradient: z0 = mean + scale noise carries it all.
    np.testing.assert_allclose(*gradients[1:], rtol=1e-8)


def test_the_closed_form_has_a_gradient_of_less_noise(test_seed):
    """The VAE's KL in closed form, and what the steps change: why flows learn as fast as the VAE."""
    _, x = simulate(1)
    variances = {}
    for estimator in ("analytic_kl", "sampled"):
        model = model_of("langevin_vae", estimator=estimator, num_steps=2, step_size=0.05)
        many = tf.constant(np.repeat(x, 2000, axis=0))  # each with noise of its own
        with tf.GradientTape() as tape:
            posterior = model.base_posterior(many)
            loc = tf.identity(posterior.mean())
            tape.watch(loc)
            moved = tfd.Independent(tfd.Normal(loc, posterior.stddev()), 1)
            inference = model._draw(many, moved, 1, model._as_seed(test_seed), estimator)
            bound = model.bound(many, inference)
        variances[estimator] = np.sum(np.var(tape.gradient(bound, loc), axis=0))
    assert variances["analytic_kl"] < 0.9 * variances["sampled"]


def test_the_sampled_momentum_has_less_noise_than_its_entropy_in_closed_form(test_seed):
    """What the authors integrate: E[-log N(m0; 0, T0 I)] instead of the value at the sample."""
    _, x = simulate(1)
    model = model_of("hamiltonian_vae", tempering="none", num_steps=2)
    many = tf.constant(np.repeat(x, 4000, axis=0))
    seed = model._as_seed(test_seed)
    ours = model._log_weights(many, model._draw(many, model._posterior(many), 1, seed, "sampled"))[0].numpy()
    noise = tfzoo.random.normal([1, 4000, D], tfzoo.random.fold_in(seed, 1), tf.float64)[0].numpy()
    theirs = ours - 0.5 * np.sum(noise**2, -1) + 0.5 * D
    assert abs(ours.mean() - theirs.mean()) <= 4 * theirs.std() / np.sqrt(4000)
    assert ours.var() < theirs.var()


# === Derivatives ===


def small_networks():
    """Returns an encoder and a decoder that are not linear, in float64 throughout."""

    def network(*sizes, activation):
        layers = [
            keras.layers.Dense(size, activation if i < len(sizes) - 2 else None, dtype="float64")
            for i, size in enumerate(sizes[1:])
        ]
        # A Sequential that is given no input of float64 rounds what it is called with to float32.
        return keras.Sequential([keras.Input((sizes[0],), dtype="float64"), *layers])

    return {"encoder": network(N, 5, 4, activation="tanh"), "decoder": network(D, 7, N, activation="softplus")}


@pytest.mark.parametrize("kind", FLOWS)
def test_gradient_of_the_bound_agrees_with_central_differences(kind, test_seed):
    """Exact second-order gradients, for every weight, step sizes and temperatures included; no linear model."""
    name, options = FLOWS[kind]
    model = tfzoo.create_model(
        name,
        event_shape=(N,),
        latent_dim=D,
        dtype="float64",
        num_steps=3,
        **small_networks(),
        **options,
    )
    x = tf.constant(np.random.default_rng(1).random((4, N)))
    values = [weight.numpy() for weight in model.trainable_weights]

    @tf.function(autograph=False)
    def loss_and_gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model.bound(x, model(x, seed=test_seed)))
        return loss, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

    _, gradients = loss_and_gradients()
    rng = np.random.default_rng(2)
    for weight, value, gradient in zip(model.trainable_weights, values, gradients, strict=True):
        direction = rng.normal(size=value.shape)
        ends = []
        for sign in (1, -1):
            weight.assign(value + sign * 1e-5 * direction)
            ends.append(loss_and_gradients()[0].numpy())
        weight.assign(value)
        difference = (ends[0] - ends[1]) / 2e-5
        scale = max(abs(difference), 1e-3)
        assert abs(np.sum(gradient * direction) - difference) < 1e-6 * scale, weight.path


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
def test_first_order_has_the_same_bound_and_another_gradient(name, test_seed):
    _, x = simulate(5)
    bounds, gradients = [], []
    for second_order in (True, False):
        model = model_of(name, second_order=second_order, shift=0.3, num_steps=3)
        with tf.GradientTape() as tape:
            bound = model.bound(tf.constant(x), model(x, seed=test_seed))
        bounds.append(bound)
        gradients.append(tape.gradient(bound, model.decoder.trainable_weights[0].value).numpy())
    np.testing.assert_array_equal(*bounds)
    relative = np.linalg.norm(gradients[0] - gradients[1]) / np.linalg.norm(gradients[0])
    assert relative > 0.01


# === More steps ===


def gaps(name, steps, test_seed, **options):
    """Returns exact log p(x) minus the bound, and its error, for each number of steps of one length in time."""
    _, x = simulate(1)
    many, results = np.repeat(x, 4000, axis=0), []
    for num_steps in steps:
        model = model_of(name, shift=1.0, widen=3.0, num_steps=num_steps, step_size_range=(0.0, 1.0), **options)
        elbo = tf.function(lambda x, model=model: model.elbo(x, 1, test_seed), autograph=False)
        mean, error = mean_and_error(elbo(many))
        results.append((exact_log_prob(x[:1]) - mean, error))
    return results


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
def test_the_annealed_bound_tightens_with_steps_where_the_plain_flow_stalls(name, test_seed):
    steps = (0, 8, 32, 128)
    annealed = gaps(name, steps, test_seed, annealed=True, step_size=0.2)
    for (wide, wide_error), (tight, tight_error) in itertools.pairwise(annealed):
        assert tight < wide - 2 * np.hypot(wide_error, tight_error)
    assert 0 < annealed[-1][0] < 0.1 * annealed[0][0]
    ((plain, _),) = gaps(name, steps[-1:], test_seed, step_size=0.2)
    assert plain > 5 * annealed[-1][0]


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
def test_a_cooled_flow_tightens_the_bound_where_one_that_keeps_its_energy_cannot(name, test_seed):
    """Dynamics that keep the posterior keep the divergence from it: only what cools can bring the encoder nearer."""
    constant = {"damping": 0.0} if name == "langevin_vae" else {"tempering": "none"}
    cooled = (
        {"damping": 0.5, "initial_temperature": float(np.exp(2 * 0.5 * 0.05 * 20))}
        if name == "langevin_vae"
        else {"tempering": "fixed", "initial_temperature": 2.7}
    )
    bounds = {}
    _, x = simulate(1)
    many = np.repeat(x, 4000, axis=0)
    for kind, options in {"none": {"num_steps": 0}, "constant": constant, "cooled": cooled}.items():
        model = model_of(name, **{"num_steps": 20, "step_size": 0.05, "shift": 0.5, "widen": 2.0, **options})
        elbo = tf.function(lambda x, model=model: model.elbo(x, 1, test_seed), autograph=False)
        bounds[kind] = mean_and_error(elbo(many))
    (none, none_error), (constant, error), (cooled, cooled_error) = bounds.values()
    assert abs(constant - none) <= 4 * np.hypot(error, none_error) + 0.02  # the integrator's own error
    assert cooled > none + 4 * np.hypot(cooled_error, none_error)


# === What diverges ===


@pytest.mark.parametrize(
    ("name", "jit_compile"), [("langevin_vae", False), ("langevin_vae", True), ("hamiltonian_vae", False)]
)
def test_training_goes_on_without_diverged_chains(name, jit_compile):
    """Half of the images lie where the steps are far too long; their chains are left out, and nothing is NaN."""

    class Steep(keras.layers.Layer):
        def build(self, shape):
            self.scale = self.add_weight(shape=(), initializer="ones")

        def call(self, z):
            return z * (1.0 + 40.0 * tf.cast(z > 3.0, z.dtype)) * self.scale

    x = np.repeat(np.float32([0.0, 50.0]), 8)[:, np.newaxis]
    model = tfzoo.create_model(
        name,
        event_shape=(1,),
        latent_dim=1,
        likelihood="gaussian",
        scale=1.0,
        encoder=keras.layers.Dense(1, kernel_initializer="ones"),
        decoder=Steep(),
        num_steps=60,
        step_size=0.45,
        seed=0,
    )
    model.posterior_layer.loc.set_weights([np.ones([1, 1]), np.zeros(1)])
    model.compile(optimizer=keras.optimizers.SGD(1e-6), jit_compile=jit_compile)
    inference = model(x, seed=3)
    sound = np.asarray(inference["is_finite"])[0]
    assert sound[:8].all()
    assert not sound[8:].any()
    assert np.isfinite(inference["z"]).all()
    history = model.fit(x, batch_size=16, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["diverged"], 0.5)
    assert np.isfinite(history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    # The loss is the mean over those that are left.
    loss = model.compute_loss(tf.constant(x), y_pred=inference)
    np.testing.assert_allclose(loss, -np.mean(model.bound(tf.constant(x), inference)[:8]), rtol=1e-5)
    # A weight of zero in importance sampling; no bound where no chain is left.
    np.testing.assert_array_equal(model.log_prob(x, 4, 3)[8:], -np.inf)
    np.testing.assert_array_equal(np.isfinite(model.elbo(x, 4, 3)), sound)
    # A batch that has none left changes nothing.
    before = model.get_weights()
    model.train_on_batch(x[8:])
    for ours, others in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, others)


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
def test_bounds_stay_bounds_where_chains_diverge(name, test_seed):
    """A density that is cut off on one side: elbo and log_prob count lost chains as weights of 0."""

    class CutOff(keras.layers.Layer):
        def call(self, z):
            return tf.where(z > 0.5, np.inf, z)

    model = tfzoo.create_model(
        name,
        event_shape=(1,),
        latent_dim=1,
        likelihood="gaussian",
        scale=1.0,
        encoder=keras.layers.Dense(1),
        decoder=CutOff(),
        num_steps=1,
    )
    x = np.zeros([1, 1], np.float32)
    inference = model(np.zeros([2000, 1], np.float32), seed=test_seed)
    assert 0.3 < np.mean(inference["is_finite"]) < 0.95
    # p(x) is the integral of p(z) p(x|z) up to the cut.
    exact = stats.norm(scale=np.sqrt(2)).logpdf(0.0) + stats.norm(scale=np.sqrt(0.5)).logcdf(0.5)
    estimate = model.estimate_log_prob(x, 50_000, test_seed)
    assert estimate.log_prob[0] <= exact + 4 * estimate.standard_error[0]
    assert np.isfinite(estimate.log_prob[0])
    elbo = model.elbo(x, 50_000, test_seed)[0]
    assert np.isfinite(elbo)
    assert elbo <= exact + 0.02


def test_where_all_chains_diverge_training_stops_with_a_sentence():
    model = model_of("langevin_vae", dtype="float32", num_steps=60, step_size=0.49)
    model.likelihood_layer.scale = 1e-3
    model.compile(optimizer="adam")
    with pytest.raises(ValueError, match=r"^some chains must stay finite: lower step_size\. Received: diverged 1\.0"):
        model.fit(simulate(8)[1].astype(np.float32), verbose=0)


# === Methods and arguments ===


@pytest.mark.parametrize("name", ["langevin_vae", "hamiltonian_vae"])
@pytest.mark.parametrize("annealed", [False, True])
def test_codes_are_functions_of_the_images_and_better_than_the_encoders(name, annealed):
    _, x = simulate(20)
    model = model_of(name, shift=0.8, num_steps=4, annealed=annealed)
    codes = model.encode(x, seed=1)
    np.testing.assert_array_equal(codes, model.encode(x, seed=2))
    start = model.base_posterior(x).mean()
    assert np.mean(model.log_joint(x, codes)) > np.mean(model.log_joint(x, start))


def test_posterior_says_what_to_use_instead():
    _, x = simulate(2)
    with pytest.raises(NotImplementedError, match="base_posterior"):
        model_of("langevin_vae").posterior(x)


def test_noise_needs_its_seed_and_is_used(test_seed):
    _, x = simulate(2)
    noisy = model_of("langevin_vae", damping=0.7, noise=True)
    quiet = model_of("langevin_vae", damping=0.7)
    assert np.max(np.abs(noisy(x, seed=test_seed)["z"] - quiet(x, seed=test_seed)["z"])) > 1e-3
    np.testing.assert_array_equal(noisy.encode(x), quiet.encode(x))


def test_volumes():
    model = tfzoo.create_model("langevin_vae", event_shape=(16, 16, 18, 1), latent_dim=3, num_steps=2)
    assert [type(layer).__name__ for layer in model.encoder.layers][:3] == ["Conv3D"] * 3
    model.compile(optimizer="adamax")
    x = np.random.default_rng(0).random((4, 16, 16, 18, 1), np.float32)
    history = model.fit(x, batch_size=2, epochs=2, verbose=0).history
    assert history["loss"][1] < history["loss"][0]


BAD = {
    "num_steps": ("langevin_vae", {"num_steps": -1}),
    "num_steps as a float": ("langevin_vae", {"num_steps": 2.0}),
    "step_size above its range": ("langevin_vae", {"step_size": 0.7}),
    "step_size": ("hamiltonian_vae", {"step_size": -0.1}),
    "step_size_range": ("hamiltonian_vae", {"step_size_range": (0.5, 0.1)}),
    "step_size_range below 0": ("hamiltonian_vae", {"step_size_range": (-0.5, 0.1)}),
    "damping": ("langevin_vae", {"damping": -1.0}),
    "damping NaN": ("langevin_vae", {"damping": float("nan")}),
    "initial_temperature": ("langevin_vae", {"initial_temperature": 0.0}),
    "initial_temperature of fixed": ("hamiltonian_vae", {"initial_temperature": 0.5}),
    "tempering": ("hamiltonian_vae", {"tempering": "quadratic"}),
    "tempering and annealed": ("hamiltonian_vae", {"tempering": "fixed", "annealed": True}),
    "noise and annealed": ("langevin_vae", {"noise": True, "annealed": True}),
    "estimator": ("langevin_vae", {"estimator": "exact"}),
    "step_size without steps": ("langevin_vae", {"step_size": -1.0, "num_steps": 0}),
    "step_size_range without end": ("hamiltonian_vae", {"step_size_range": (0.0, float("inf"))}),
    "step_size_range of three": ("hamiltonian_vae", {"step_size_range": (0.0, 0.3, 0.5)}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    name, options = BAD[case]
    with pytest.raises(ValueError, match=r"^[^\n]* Received: [^\n]*$"):
        tfzoo.create_model(name, event_shape=(3,), latent_dim=2, **options)


def test_scale_is_what_the_references_assume():
    assert model_of("langevin_vae").likelihood_layer.scale == SCALE
