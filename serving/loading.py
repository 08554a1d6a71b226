"""Opens versions for the development server: what TensorFlow loads, if it is all there."""

import pathlib

from export.runtime import SavedModel
from serving.errors import ServingError

__all__ = ["load"]


def load(path: pathlib.Path) -> SavedModel:
    """Returns the SavedModel in a folder.

    Raises:
      LoadError: if TensorFlow cannot load it.
      ServingError: NOT_FOUND, if its variables are missing, as in a folder that is being copied: TensorFlow, and TF
        Serving, load it, and every request fails.
    """
    # Looked for first: what is copied while TensorFlow loads has not been read.
    complete = (path / "variables" / "variables.index").exists()
    model = SavedModel(path)
    if model.meta.restores and not complete:
        model.close()
        raise ServingError("NOT_FOUND", f"Could not find variables/variables.index at {path}")
    return model
