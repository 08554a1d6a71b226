"""Graphs of codes and clusters on them: paths around holes, against a plain search, and two moons."""

import numpy as np
import pytest
import tensorflow as tf

from tests.geometry.spaces import half_plane, sphere
from tfzoo.geometry import clustering, curves, geodesic, graph

pytestmark = pytest.mark.fast

CODES = np.random.default_rng(0).uniform(-1.0, 1.0, [150, 2]).astype(np.float32)


def moons(count):
    """Two interleaved half circles, and which one each point is of."""
    angle, label = np.linspace(0.0, np.pi, count), np.repeat([0, 1], count)
    first = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    second = np.stack([1.0 - np.cos(angle), 0.35 - np.sin(angle)], axis=1)
    noise = 0.02 * np.random.default_rng(0).normal(size=[2 * count, 2])
    return np.concatenate([first, second]) + noise, label


def shortest_by_relaxation(edges, start):
    """Bellman and Ford's search, on a dense matrix with infinities."""
    lengths = np.full(len(edges), np.inf)
    lengths[start] = 0.0
    for _ in range(len(edges)):
        lengths = np.minimum(lengths, (lengths[:, None] + edges).min(axis=0))
    return lengths


def test_distances_are_those_of_a_plain_search():
    found = graph.Graph(None, np.abs(CODES[:40]) + 0.2, metric_fn=half_plane, num_neighbours=4)
    edges = found.edges.toarray()
    np.testing.assert_array_equal(edges, edges.T)
    assert np.all((edges > 0).sum(axis=1) >= 4)
    edges[edges == 0] = np.inf
    np.testing.assert_allclose(found.distances([3])[0], shortest_by_relaxation(edges, 3), rtol=1e-5)


def test_edges_are_as_long_as_their_images_are_apart():
    found = graph.Graph(sphere, CODES + 1.5, num_neighbours=5).edges.tocoo()
    images = sphere(tf.constant(CODES + 1.5)).numpy()
    np.testing.assert_allclose(found.data, np.linalg.norm(images[found.row] - images[found.col], axis=1), rtol=1e-3)


def test_paths_have_their_ends_a_constant_speed_and_start_geodesics():
    found = graph.Graph(tf.identity, CODES)
    z0, z1 = CODES[:6] + 0.01, CODES[6:12] - 0.01
    paths = found.paths(z0, z1, num_points=200)
    assert paths.shape == (6, 200, 2)
    assert paths.dtype == np.float32
    np.testing.assert_allclose(paths[:, [0, -1]], np.stack([z0, z1], axis=1), atol=1e-6)
    steps = np.linalg.norm(np.diff(paths, axis=1), axis=2)
    assert np.median(np.abs(steps / steps.mean(axis=1, keepdims=True) - 1.0)) < 0.05
    straight = np.linalg.norm(z1 - z0, axis=1)
    assert np.all(steps.sum(axis=1) >= straight - 1e-5)
    assert np.all(steps.sum(axis=1) < 1.4 * straight + 0.2)
    solved = geodesic.solve(tf.identity, z0, z1, initial=paths)
    np.testing.assert_allclose(solved.length, straight, rtol=1e-3)


def test_a_path_on_the_graph_finds_the_way_around_a_wall():
    # A wall with a gap at the top, where the codes go through.
    def wall(z):
        gate = tf.sigmoid(30.0 * (0.6 - z[:, 1:]))
        return tf.concat([z, 5.0 * gate * tf.exp(-50.0 * z[:, :1] ** 2)], axis=1)

    codes = CODES[(np.abs(CODES[:, 0]) > 0.3) | (CODES[:, 1] > 0.7)]
    z0, z1 = np.array([[-0.8, -0.2]], np.float32), np.array([[0.8, -0.2]], np.float32)
    line = geodesic.solve(wall, z0, z1)
    start = graph.Graph(wall, codes).paths(z0, z1)
    found = geodesic.solve(wall, z0, z1, initial=start)
    assert found.energy[0] < 0.5 * line.energy[0]
    assert found.energy[0] <= curves.energy(wall, start)[0]
    assert found.points.numpy()[0, :, 1].max() > 0.6


def test_what_is_not_connected_is_joined_by_a_line():
    codes = np.concatenate([CODES[:20] * 0.1, CODES[:20] * 0.1 + 9.0])
    found = graph.Graph(tf.identity, codes, num_neighbours=3)
    assert np.isinf(found.distances([0])).sum() == 20
    path = found.paths(codes[:1], codes[-1:], num_points=5)
    np.testing.assert_allclose(path[0], np.linspace(codes[0], codes[-1], 5), rtol=1e-5)


def test_clusters_follow_the_data_around_corners():
    codes, labels = moons(60)
    found = clustering.kmeans(graph.Graph(tf.identity, codes, num_neighbours=6), 2)
    agreement = np.mean(found.labels == labels)
    assert max(agreement, 1.0 - agreement) == 1.0
    # Straight distances cut both moons in two.
    straight = np.linalg.norm(codes[:, None] - found.centres, axis=-1).argmin(axis=1)
    assert 0.1 < np.mean(straight == labels) < 0.9
    assert all((codes == centre).all(axis=1).any() for centre in found.centres)


def test_no_code_is_a_better_centre_and_every_code_is_with_its_nearest_one():
    found_graph = graph.Graph(tf.identity, CODES[:60])
    found = clustering.kmeans(found_graph, 4, num_starts=3)
    squares = found_graph.distances(np.arange(60)) ** 2
    centres = [int(np.flatnonzero((CODES[:60] == centre).all(axis=1))[0]) for centre in found.centres]
    np.testing.assert_array_equal(found.labels, squares[centres].argmin(axis=0))
    np.testing.assert_allclose(found.inertia, squares[centres].min(axis=0).sum(), rtol=1e-6)
    edges = found_graph.edges.toarray()
    edges[edges == 0] = np.inf
    for k, centre in enumerate(centres):
        members = np.flatnonzero(found.labels == k)
        inside = edges[np.ix_(members, members)]
        sums = [np.sum(shortest_by_relaxation(inside, i) ** 2) for i in range(len(members))]
        assert len(members) > 3
        assert members[np.argmin(sums)] == centre
    again = clustering.kmeans(found_graph, 4, num_starts=3)
    np.testing.assert_array_equal(again.labels, found.labels)
    assert clustering.kmeans(found_graph, 4, num_starts=1, max_iterations=1).inertia >= found.inertia
    # More runs do no harm; as many clusters as codes leave nothing.
    assert clustering.kmeans(found_graph, 4, num_starts=6).inertia <= found.inertia
    assert clustering.kmeans(found_graph, 60, num_starts=1).inertia == 0.0


def test_codes_that_coincide_are_no_trouble():
    found_graph = graph.Graph(tf.identity, np.zeros([6, 2]), num_neighbours=3)
    assert clustering.kmeans(found_graph, 2, num_starts=1).inertia < 1e-30
    assert np.all(found_graph.paths(np.zeros([1, 2]), np.ones([1, 2]), num_points=3)[0, -1] == 1.0)


GRAPH = graph.Graph(tf.identity, CODES[:5])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: graph.Graph(tf.identity, CODES[:1]), r"^codes must be at least 2 points.*Received: shape \(1, 2\)$"),
        (lambda: graph.Graph(tf.identity, CODES[0]), r"Received: shape \(2,\)$"),
        (lambda: graph.Graph(tf.identity, CODES, num_neighbours=0), r"^num_neighbours must be .*Received: 0$"),
        (lambda: GRAPH.paths(CODES[:1], CODES[:2]), r"^z1 must be points \[B, 2\]\. Received: shape \(2, 2\)$"),
        (lambda: GRAPH.paths(CODES[:1], CODES[:1], num_points=1), r"^num_points must be at least 2.*Received: 1$"),
        (lambda: clustering.kmeans(GRAPH, 6), r"^num_clusters must be at most 5, the codes\. Received: 6$"),
        (lambda: clustering.kmeans(GRAPH, 2, num_starts=0), r"^num_starts must be .*Received: 0$"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
