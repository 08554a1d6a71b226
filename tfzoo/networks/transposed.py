"""Transposed convolutions into few channels, such as the last layer of a decoder.

A transposed convolution of stride s into M channels is a convolution of stride 1 into s x s x M, the s x s pixels that
grow out of one (sub-pixel convolution), or in a volume s x s x s. Where M is small, a CPU does that at twice the speed,
and at four times in three dimensions. The gradients are those of Keras's layer, strided convolutions, and the gradients
of these are sub-pixel convolutions again.

References:
  Shi et al., "Is the deconvolution layer the same as a convolutional layer?", https://arxiv.org/abs/1609.07009
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfzoo.types import Tensor

__all__ = ["Conv2DTranspose", "Conv3DTranspose"]

_MOST_CHANNELS = 32  # s x s x M; beyond, Keras's way is as fast


class _ConvTranspose(keras.layers.Layer):
    """What the layers of two and three dimensions share, in front of Keras's class."""

    def __init__(self, *args: Any, output_padding: int | Sequence[int] | None = None, **kwargs: Any) -> None:
        # Keras computes with zeros, but takes none before its version 3.11: it is given ones to check.
        zeros = output_padding is not None and not np.all(output_padding)
        if output_padding is not None:
            kwargs["output_padding"] = np.where(output_padding, output_padding, 1).tolist() if zeros else output_padding
        super().__init__(*args, **kwargs)
        if zeros:
            self.output_padding = tuple(np.broadcast_to(np.asarray(output_padding), self.rank).tolist())

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; older versions of Keras leave the output padding out."""
        return {**super().get_config(), "output_padding": self.output_padding}

    def call(self, inputs: Tensor) -> Tensor:
        """Returns maps ``[B, s H, s W, filters]`` of maps ``[B, H, W, C]``, and volumes alike."""
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
            padded = (padded,) * self.rank if padded is None or isinstance(padded, int) else padded
            grows = all(p in (None, stride - k % 2) for p, k in zip(padded, self.kernel_size, strict=True))
        return (
            grows
            and self.strides == (stride,) * self.rank
            and stride > 1
            and (max(self.kernel_size) <= stride or min(self.kernel_size) >= stride - 1)
            and stride**self.rank * self.filters <= _MOST_CHANNELS
            and tuple(self.dilation_rate) == (1,) * self.rank
            and self.data_format == "channels_last"
        )


@keras.saving.register_keras_serializable("tfzoo")
class Conv2DTranspose(_ConvTranspose, keras.layers.Conv2DTranspose):
    """`keras.layers.Conv2DTranspose` with the same weights and values, faster on CPUs where it has few filters.

    That is where a layer of strides (s, s) has at most 32 / s^2 filters and enlarges by s exactly, as with padding
    "same"; all else is left to Keras. The arguments are Keras's.
    """


@keras.saving.register_keras_serializable("tfzoo")
class Conv3DTranspose(_ConvTranspose, keras.layers.Conv3DTranspose):
    """`keras.layers.Conv3DTranspose` with the same weights and values, faster on CPUs where it has few filters.

    As `Conv2DTranspose`, with at most 32 / s^3 filters.
    """


def _add_to_channels(maps: Tensor, bias: Tensor) -> Tensor:
    """Returns maps ``[B, H, W, M]`` plus ``[M]``, a row of pixels at a time; volumes alike.

    A sum over a few channels at a time is slow, and so is the gradient of `tf.nn.bias_add`.
    """
    *sizes, width, filters = _sizes(maps)
    rows = tf.reshape(maps, [-1, *sizes, width * filters]) + tf.tile(bias, [width])
    return tf.reshape(rows, [-1, *sizes, width, filters])


def _sizes(maps: Tensor) -> list[int | Tensor]:
    """Returns all sizes of maps but the first, as numbers where they are known."""
    return [maps.shape[axis] or tf.shape(maps)[axis] for axis in range(1, maps.shape.rank)]


@functools.cache
def _convolutions(kernel_size: tuple[int, ...], stride: int) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the transposed convolution of maps ``[B, H, W, C]`` with a kernel ``[*kernel_size, M, C]``."""
    rank = len(kernel_size)
    padding = "VALID" if max(kernel_size) <= stride else "SAME"  # the same, but TensorFlow's "SAME" in volumes is not
    strided: dict[str, Any] = {"strides": [1, *[stride] * rank, 1], "padding": padding}
    convolve = tf.nn.conv2d if rank == 2 else tf.nn.conv3d
    correlate_of = tf.raw_ops.Conv2DBackpropFilter if rank == 2 else tf.raw_ops.Conv3DBackpropFilterV2

    # Each is a derivative of <large, enlarge(small, kernel)>, which is linear in all three, and the others are its own.
    @tf.custom_gradient
    def enlarge(small: Tensor, kernel: Tensor) -> Any:
        return _sub_pixel(small, kernel, stride), lambda large: (reduce(large, kernel), correlate(large, small))

    @tf.custom_gradient
    def reduce(large: Tensor, kernel: Tensor) -> Any:
        return convolve(large, kernel, **strided), lambda small: (enlarge(small, kernel), correlate(large, small))

    @tf.custom_gradient
    def correlate(large: Tensor, small: Tensor) -> Any:
        shape = [*kernel_size, large.shape[-1], small.shape[-1]]
        kernel = correlate_of(input=large, filter_sizes=shape, out_backprop=small, **strided)
        return kernel, lambda kernel: (enlarge(small, kernel), reduce(large, kernel))

    return enlarge


def _sub_pixel(small: Tensor, kernel: Tensor, stride: int) -> Tensor:
    *kernel_size, filters, channels = kernel.shape
    # In bfloat16 what is moved around costs more than what is computed.
    index, padding, shifts = _rearranged(tuple(kernel_size), filters, channels, stride, small.dtype != tf.bfloat16)
    flat = tf.concat([tf.reshape(kernel, [-1]), tf.zeros([1], kernel.dtype)], 0)
    weights = tf.gather(flat, index)
    *sizes, _ = _sizes(small)
    rank = len(sizes)
    if rank == 2:
        pixels = tf.nn.conv2d(small, weights, 1, padding)
    else:
        pixels = tf.nn.conv3d(tf.pad(small, padding), weights, [1] * 5, "VALID")
    blocks = [size + 1 if shift else size for size, shift in zip(sizes, shifts, strict=True)]
    # Between the sizes go the s pixels of each; the last s and the filters are next to each other already.
    pixels = tf.reshape(pixels, [-1, *blocks, *[stride] * (rank - 1), stride * filters])
    between = [axis for pair in zip(range(1, rank + 1), range(rank + 1, 2 * rank + 1), strict=True) for axis in pair]
    pixels = tf.reshape(tf.transpose(pixels, [0, *between]), [-1, *[stride * size for size in blocks], filters])
    if not any(shifts):
        return pixels
    ends = [slice(None)] + [slice(shift, shift + stride * size) for size, shift in zip(sizes, shifts, strict=True)]
    return pixels[tuple(ends)]


@functools.cache
def _rearranged(
    kernel_size: tuple[int, ...], filters: int, channels: int, stride: int, may_shift: bool
) -> tuple[np.ndarray, list, list[int]]:
    """Returns which entries of the flat kernel make that of stride 1 ``[., ., C, s s M]``, its padding, and the shifts.

    Entries that are none have the index that follows the kernel's last.
    """
    rank, none = len(kernel_size), math.prod(kernel_size) * filters * channels
    index, inside, padding, shifts = np.zeros([1] * (2 * rank + 2), np.int64), np.array(True), [], []
    for axis, size in enumerate(kernel_size):
        taps, pads, shift = _taps(size, stride, may_shift)  # [window, s]
        padding.append(pads)
        shifts.append(shift)
        shape = np.ones(2 * rank + 2, int)  # windows, channels, pixels, filters
        shape[[axis, rank + 1 + axis]] = taps.shape
        taps = taps.reshape(shape)
        index, inside = index * size + taps, inside & (taps >= 0) & (taps < size)
    channel = np.arange(channels).reshape([-1, *[1] * (rank + 1)])
    index = np.where(inside, (index * filters + np.arange(filters)) * channels + channel, none)
    return index.reshape(*index.shape[:rank], channels, -1).astype(np.int32), [[0, 0], *padding, [0, 0]], shifts


def _taps(size: int, stride: int, may_shift: bool) -> tuple[np.ndarray, list[int], int]:
    """Returns which of `size` taps a place of the window brings to a pixel, ``[window, stride]``, padding, and shift.

    Blocks of s pixels that begin `shift` pixels before the first, one block more, may need a smaller window: of a
    kernel of 4 and stride 2 one of 2 places, with all taps in use, instead of 3.
    """
    before = max(size - stride, 0) // 2  # what "same" crops of the front

    def window(shift: int) -> tuple[int, int]:
        return -((before - shift + stride - 1) // stride), (size - 1 - before + shift) // stride

    shift = min((0, before % stride if may_shift else 0), key=lambda shift: window(shift)[1] - window(shift)[0])
    first, last = window(shift)
    taps = stride * np.arange(last, first - 1, -1)[:, None] + np.arange(stride) + before - shift
    return taps, [last, -first + (shift > 0)], shift
