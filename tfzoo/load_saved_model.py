"""Calls each signature of a SavedModel with TensorFlow alone: python load_saved_model.py PATH inputs.npz outputs.npz.

The inputs are named "signature/input", the outputs "signature/output". Run by `tfzoo.verification`; it stands alone.
"""

import sys

import numpy as np
import tensorflow as tf

if __name__ == "__main__":
    path, given, got = sys.argv[1:]
    signatures = tf.saved_model.load(path).signatures
    outputs = {}
    with np.load(given) as inputs:
        for name in sorted({key.split("/")[0] for key in inputs}):
            arguments = {key.split("/")[1]: tf.constant(inputs[key]) for key in inputs if key.split("/")[0] == name}
            for key, value in signatures[name](**arguments).items():
                outputs[f"{name}/{key}"] = value.numpy()
    strangers = {"tfzoo", "tensorflow_probability", "tf_keras"} & set(sys.modules)
    if strangers:
        sys.exit(f"imported more than TensorFlow: {strangers}")
    np.savez(got, **outputs)
