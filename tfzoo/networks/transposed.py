"""Transposed convolutions into few channels, such as the last layer of a decoder.

A transposed convolution of stride s is a convolution of stride 1 into s x s x M channels, the s x s pixels of M
channels that grow out of one (sub-pixel convolution). Where M is small, a CPU does that at twice the speed. The
gradients are those of Keras's layer, strided convolutions, and the gradients of these are sub-pixel convolutions again.

References:
  Shi et al., "Is the deconvolution layer the same as a convolutional layer?", https://arxiv.org/abs/1609.07009
"""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Conv2DTranspose"]

_MOST_CHANNELS = 32  # s x s x M; beyond, Keras's way is as fast


@keras.saving.register_keras_serializable("tfzoo")
class Conv2DTranspose(keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with the same weights and values, faster on CPUs where it has few filters.

    That is where a layer of strides (s, s) has at most 32 / s^2 filters and enlarges by s exactly, as with padding
    "same"; all else is left to Keras. The arguments are Keras's.
    """

    def call(self, inputs: Tensor) -> Tensor:
        """Returns maps ``[B, s H, s W, filters]`` of maps ``[B, H, W, C]``."""
        if not self._is_sub_pixel():
            return super().call(inputs)
        enlarge = _convolutions(self.kernel_size, self.strides[0])
        outputs = enlarge(tf.convert_to_tensor(inputs), tf.convert_to_tensor(self.kernel))
        if self.use_bias:
            outputs = _add_to_channels(outputs, tf.convert_to_tensor(self.bias))
        return outputs if self.activation is None else self.activation(outputs)

    def _is_sub_pixel(self) -> bool:
        stride = self.strides[0]
        if self.padding == "valid":
            grows = max(self.kernel_size) <= stride and self.output_padding is None
        else:
            padded = self.output_padding
            padded = (padded, padded) if padded is None or isinstance(padded, int) else padded
            grows = all(p in (None, stride - k % 2) for p, k in zip(padded, self.kernel_size, strict=True))
        return (
            grows
            and self.strides == (stride, stride)
            and stride > 1
            and stride**2 * self.filters <= _MOST_CHANNELS
            and tuple(self.dilation_rate) == (1, 1)
            and self.data_format == "channels_last"
        )


def _add_to_channels(maps: Tensor, bias: Tensor) -> Tensor:
    """Returns maps ``[B, H, W, M]`` plus ``[M]``, a row of pixels at a time.

    A sum over a few channels at a time is slow, and so is the gradient of `tf.nn.bias_add`.
    """
    height, width, filters = (maps.shape[axis] or tf.shape(maps)[axis] for axis in (1, 2, 3))
    rows = tf.reshape(maps, [-1, height, width * filters]) + tf.tile(bias, [width])
    return tf.reshape(rows, [-1, height, width, filters])


@functools.cache
def _convolutions(kernel_size: tuple[int, int], stride: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the transposed convolution of maps ``[B, H, W, C]`` with a kernel ``[*kernel_size, M, C]``."""
    strided: dict[str, Any] = {"strides": [1, stride, stride, 1], "padding": "SAME"}

    # Each is a derivative of <large, enlarge(small, kernel)>, which is linear in all three, and the others are its own.
    @tf.custom_gradient
    def enlarge(small: Tensor, kernel: Tensor) -> Any:
        return _sub_pixel(small, kernel, stride), lambda large: (reduce(large, kernel), correlate(large, small))

    @tf.custom_gradient
    def reduce(large: Tensor, kernel: Tensor) -> Any:
        return tf.nn.conv2d(large, kernel, **strided), lambda small: (enlarge(small, kernel), correlate(large, small))

    @tf.custom_gradient
    def correlate(large: Tensor, small: Tensor) -> Any:
        shape = [*kernel_size, large.shape[-1], small.shape[-1]]
        kernel = tf.raw_ops.Conv2DBackpropFilter(input=large, filter_sizes=shape, out_backprop=small, **strided)
        return kernel, lambda kernel: (enlarge(small, kernel), reduce(large, kernel))

    return enlarge


def _sub_pixel(small: Tensor, kernel: Tensor, stride: int) -> Tensor:
    rows, columns, filters, channels = kernel.shape
    index, padding = _rearranged(rows, columns, filters, channels, stride)
    flat = tf.concat([tf.reshape(kernel, [-1]), tf.zeros([1], kernel.dtype)], 0)
    pixels = tf.nn.conv2d(small, tf.gather(flat, index), 1, [[0, 0], *padding, [0, 0]])
    height, width = (small.shape[axis] or tf.shape(small)[axis] for axis in (1, 2))
    pixels = tf.transpose(tf.reshape(pixels, [-1, height, width, stride, stride * filters]), [0, 1, 3, 2, 4])
    return tf.reshape(pixels, [-1, stride * height, stride * width, filters])


@functools.cache
def _rearranged(rows: int, columns: int, filters: int, channels: int, stride: int) -> tuple[np.ndarray, list]:
    """Returns which entries of the flat kernel make that of stride 1 ``[., ., C, s s M]``, and this one's padding.

    Entries that are none have the index that follows the kernel's last.
    """
    (down, above), (right, left) = (_taps(size, stride) for size in (rows, columns))  # [windows, s]
    down, right = down[:, None, None, :, None, None], right[None, :, None, None, :, None]
    channel, filter_ = np.arange(channels)[:, None, None, None], np.arange(filters)
    index = ((down * columns + right) * filters + filter_) * channels + channel
    inside = (down >= 0) & (down < rows) & (right >= 0) & (right < columns)
    index = np.where(inside, index, rows * columns * filters * channels)
    windows = index.shape[:2]
    index = index.reshape(*windows, channels, -1).astype(np.int32)
    return index, [[above, windows[0] - 1 - above], [left, windows[1] - 1 - left]]


def _taps(size: int, stride: int) -> tuple[np.ndarray, int]:
    """Returns which of `size` taps a place of the window brings to a pixel, ``[window, stride]``, and the padding."""
    before = max(size - stride, 0) // 2  # what "same" crops of the front
    last = (size - 1 - before) // stride
    first = -((before + stride - 1) // stride)
    return stride * np.arange(last, first - 1, -1)[:, None] + np.arange(stride) + before, last
