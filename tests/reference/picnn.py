"""Partially input convex networks in plain NumPy, one point at a time, corrected and as printed."""

import numpy as np


def softplus(x):
    return np.logaddexp(0.0, x)


def elu(x):
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0.0)))


def relu(x):
    return np.maximum(x, 0.0)


def picnn(z, h, layers, *, gate=relu, nonnegative=relu):
    """w(z, h), a number. Each layer is a dict of matrices [out, in] and vectors; the last one is linear.

    `gate` and `nonnegative` are what makes it convex: the identity for both is the recursion as printed.
    """
    w, v = None, h
    for k, layer in enumerate(layers):
        last = k == len(layers) - 1
        if not last:
            v = elu(layer["Lv"] @ v + layer["bv"])
        a = layer["Lx"] @ (z * (layer["Ls"] @ v + layer["bs"]))
        if w is not None:
            a = a + nonnegative(layer["W"]) @ (w * gate(layer["Lg"] @ v + layer["bg"])) / len(w)
        if last:
            return a[0]
        w = softplus(a + layer["Lb"] @ v + layer["b"])
    raise ValueError("no layers")


def random_layers(rng, latent_dim, context_dim, widths, context_widths):
    """Layers with weights of both signs."""
    layers, units, width = [], None, context_dim
    for k, after in enumerate((*widths, 1)):
        layer = {}
        if k < len(widths):
            layer["Lv"] = rng.normal(size=(context_widths[k], width)) / np.sqrt(width)
            layer["bv"] = rng.normal(size=context_widths[k])
            width = context_widths[k]
        layer["Lx"] = rng.normal(size=(after, latent_dim))
        layer["Ls"], layer["bs"] = rng.normal(size=(latent_dim, width)), rng.normal(size=latent_dim)
        layer["Lb"], layer["b"] = rng.normal(size=(after, width)), rng.normal(size=after)
        if units is not None:
            layer["W"] = rng.normal(size=(after, units))
            layer["Lg"], layer["bg"] = rng.normal(size=(units, width)), rng.normal(size=units)
        layers.append(layer)
        units = after
    return layers


def hessian(function, z, step=1e-4):
    """By differences of the function's values."""
    d = len(z)
    result = np.empty([d, d])
    for i in range(d):
        for j in range(d):
            e, f = step * np.eye(d)[i], step * np.eye(d)[j]
            result[i, j] = function(z + e + f) - function(z + e - f) - function(z - e + f) + function(z - e - f)
    return result / (4.0 * step**2)
