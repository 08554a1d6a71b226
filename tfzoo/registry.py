"""Models and presets by name."""

import difflib
import inspect
import pathlib
import types
import typing
from typing import Any

import keras

from tfzoo.models import (
    ABP,
    IAFVAE,
    IWAE,
    VAE,
    HamiltonianVAE,
    LangevinVAE,
    LatentEBM,
    LatentFlow,
    LatentFlowVAE,
    PCPMapVAE,
    RiemannianVAE,
    ShortRunOT,
)
from tfzoo.models.base import LatentVariableModel
from tfzoo.models.flow_posterior import FlowVAE
from tfzoo.presets import PRESETS

__all__ = ["create_model", "list_models", "list_presets"]

_MODELS: dict[str, type[LatentVariableModel]] = {
    "abp": ABP,
    "hamiltonian_vae": HamiltonianVAE,
    "iaf_vae": IAFVAE,
    "iwae": IWAE,
    "langevin_vae": LangevinVAE,
    "latent_ebm": LatentEBM,
    "latent_flow": LatentFlow,
    "latent_flow_vae": LatentFlowVAE,
    "pcp_map_vae": PCPMapVAE,
    "riemannian_vae": RiemannianVAE,
    "short_run_ot": ShortRunOT,
    "vae": VAE,
}
_KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a name"}
_WEIGHTS = pathlib.Path(__file__).parent / "weights"


def list_models() -> list[str]:
    """Returns the names of the models, sorted."""
    return sorted(_MODELS)


def list_presets() -> list[str]:
    """Returns the names of the presets, sorted: "<model>_<data>"."""
    return sorted(PRESETS)


def create_model(
    name: str, *, event_shape: tuple[int, ...] | None = None, pretrained: bool = False, **overrides: Any
) -> LatentVariableModel:
    """Makes a model from its name, or from a preset's.

    Example::

        model = tfzoo.create_model("vae", event_shape=(28, 28, 1), latent_dim=64)
        model = tfzoo.create_model("vae_mnist", pretrained=True)

    Args:
      name: of `list_models()` or `list_presets()`.
      event_shape: the shape of one example, as TFP calls it: (28, 28, 1), (60, 50, 50, 1), (10,). A preset has its own.
      pretrained: load the weights that come with the preset.
      **overrides: of the model's arguments: `latent_dim`, `likelihood`, `scale`, `encoder`, `decoder`, ...

    Returns:
      A `keras.Model` on freshly initialised, or on the preset's weights.

    Raises:
      ValueError: for an unknown name, a missing `event_shape`, an override of the wrong kind or out of its range, or
        `pretrained` where there are no weights.
      TypeError: for an unknown override.
    """
    if name not in [*_MODELS, *PRESETS]:
        close = difflib.get_close_matches(str(name), [*_MODELS, *PRESETS], n=3, cutoff=0.4)
        raise ValueError(
            f"name must be a model ({', '.join(list_models())}) or a preset; "
            f"the closest are {', '.join(close) or 'none'}. Received: {name!r}"
        )
    preset = PRESETS.get(name)
    model_class = _MODELS[preset.model if preset else name]
    if preset:
        event_shape = preset.event_shape if event_shape is None else event_shape
        overrides = {**preset.model_options, **overrides}
    if event_shape is None:
        raise ValueError(
            f"event_shape must be the shape of one example for the model {name!r}, such as (28, 28, 1). Received: None"
        )
    valid = _options(model_class)
    unknown = [key for key in overrides if key not in valid]
    if unknown:
        instead = "; vae and iwae take any flow as their posterior" if unknown[0] == "posterior" else ""
        raise TypeError(f"options of {name} are {', '.join(sorted(valid))}{instead}. Received: {unknown[0]!r}")
    if pretrained and not (preset and preset.weights):
        having = [key for key in list_presets() if PRESETS[key].weights]
        raise ValueError(f"pretrained weights come with {', '.join(having) or 'no preset yet'}. Received: {name!r}")
    for key, value in overrides.items():
        _check_kind(key, valid[key], value)
    model = model_class(event_shape=event_shape, **overrides)
    if pretrained and preset and preset.weights:
        try:
            model.load_weights(str(_WEIGHTS / preset.weights))
        except ValueError:
            raise ValueError(
                f"pretrained weights of {name} fit its own networks only, not these options. "
                f"Received: event_shape={event_shape}, {overrides}"
            ) from None
    return model


def _options(model_class: type[LatentVariableModel]) -> dict[str, Any]:
    """Returns the annotations of a model's arguments by name, its base classes' included."""
    options: dict[str, Any] = {"dtype": Any, "name": Any}
    for cls in model_class.__mro__[: model_class.__mro__.index(keras.Model)]:
        for parameter in inspect.signature(cls).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                options.setdefault(parameter.name, parameter.annotation)
    if issubclass(model_class, FlowVAE):
        options.pop("posterior")  # it is the flow that the model is named by
    options.pop("event_shape")
    return options


def _check_kind(name: str, annotation: Any, value: Any) -> None:
    """Raises ValueError for a word, a list or a truth value where a number is asked for, and the like."""
    kinds = set(typing.get_args(annotation) if isinstance(annotation, types.UnionType) else [annotation])
    kinds -= {types.NoneType}
    if not kinds <= set(_KINDS) or not isinstance(value, (str, bool, list, tuple, dict)):
        return  # what the model itself looks at
    if type(value) not in kinds:
        wanted = " or ".join(words for kind, words in _KINDS.items() if kind in kinds)
        raise ValueError(f"{name} must be {wanted}. Received: {value!r}")
