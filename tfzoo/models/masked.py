"""Images of which a part is hidden: how a batch's "mask" (1 = visible) becomes one that inference can rely on."""

import tensorflow as tf

from tfzoo.models.validation import as_mask
from tfzoo.types import Tensor, TensorLike

__all__ = ["as_visible", "not_for_masks", "take_mask", "visible"]


def take_mask(x: TensorLike) -> tuple[TensorLike, TensorLike | None]:
    """Returns data without its "mask", and the mask: None where there is none."""
    if not isinstance(x, dict) or "mask" not in x:
        return x, None
    return {key: value for key, value in x.items() if key != "mask"}, x["mask"]


def as_visible(images: Tensor, mask: TensorLike) -> tuple[Tensor, Tensor]:
    """Returns images with 0 in place of what is hidden, and their mask, both ``[B, *event_shape]``.

    A mask that `tfzoo.models.validation.check_mask` would refuse fails at run time where its values cannot be seen yet.
    """
    given = tf.cast(mask, images.dtype)
    mask = as_mask(mask, images)
    seen = tf.reduce_any(mask > 0, axis=list(range(1, mask.shape.rank)))
    message = "mask must be 0 (hidden) or 1 (visible), with a pixel of each image visible. Received: another"
    fine = tf.reduce_all((given == 0) | (given == 1)) & tf.reduce_all(seen)
    check = tf.debugging.Assert(fine, [message])
    with tf.control_dependencies([check] if check is not None else []):  # none in eager code
        # XLA leaves the check out: a NaN everywhere is then caught in the loss.
        nothing = tf.constant(float("nan"), images.dtype)
        return tf.where(fine, visible(images, mask), nothing), tf.where(fine, mask, tf.ones_like(mask))


def visible(images: Tensor, mask: Tensor) -> Tensor:
    """Returns images with 0 in place of what is hidden: times 0, an infinite square would be no number."""
    return tf.where(mask > 0, images, tf.zeros_like(images))


def not_for_masks(x: dict) -> ValueError:
    """Returns the error of a model that would leave a "mask" out."""
    return ValueError(
        'images must be whole here: only models that infer by a Markov chain take a "mask", in fit, evaluate, predict, '
        f"encode and reconstruct. Received: a dict with the keys {', '.join(map(str, x))}"
    )
