"""What is known of each named data set without opening it: sizes, splits, licence, source."""

from collections.abc import Mapping
from typing import NamedTuple

from tfzoo.types import EventShape

__all__ = ["CATALOGUE", "SPLITS", "DatasetInfo", "list_datasets", "with_unions"]

SPLITS = ("train", "validation", "train+validation", "test", "all")


class DatasetInfo(NamedTuple):
    """Facts about a data set.

    Attributes:
      name: the name `tfzoo.data.load` knows it by; the path of a folder or file; "arrays" for NumPy arrays.
      event_shape: the shape of one example, such as `(28, 28, 1)`, or `(60, 50, 50, 1)` for volumes.
      num_classes: number of labels; 0 where the label is always -1.
      num_examples: split name -> number of examples, for every split that can be loaded.
      licence: as its authors state it.
      source: where it comes from.
      citation: whom to cite.
    """

    name: str
    event_shape: EventShape
    num_classes: int
    num_examples: Mapping[str, int]
    licence: str
    source: str
    citation: str


def with_unions(train: int, validation: int, test: int) -> dict[str, int]:
    """The sizes of all five splits from those of the three parts."""
    parts = {"train": train, "validation": validation, "train+validation": train + validation, "test": test}
    return parts | {"all": train + validation + test}


CATALOGUE: dict[str, DatasetInfo] = {
    facts.name: facts
    for facts in (
        DatasetInfo(
            "binarized_mnist",
            (28, 28, 1),
            0,
            with_unions(50_000, 10_000, 10_000),
            "CC BY-SA 3.0 (as MNIST)",
            "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist",
            "Salakhutdinov and Murray, On the quantitative analysis of deep belief networks, ICML 2008;"
            " Larochelle and Murray, The neural autoregressive distribution estimator, AISTATS 2011",
        ),
        DatasetInfo(
            "celeb_a",
            (64, 64, 3),
            0,
            with_unions(162_770, 19_867, 19_962),
            "non-commercial research only",
            "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
            "Liu, Luo, Wang and Tang, Deep learning face attributes in the wild, ICCV 2015, arXiv:1411.7766",
        ),
        DatasetInfo(
            "cifar10",
            (32, 32, 3),
            10,
            with_unions(45_000, 5_000, 10_000),
            "none stated",
            "https://www.cs.toronto.edu/~kriz/cifar.html",
            "Krizhevsky, Learning multiple layers of features from tiny images, 2009",
        ),
        DatasetInfo(
            "digits",
            (8, 8, 1),
            10,
            with_unions(1_297, 200, 300),
            "CC BY 4.0",
            "scikit-learn's copy of https://archive.ics.uci.edu/dataset/80",
            "Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998",
        ),
        DatasetInfo(
            "fashion_mnist",
            (28, 28, 1),
            10,
            with_unions(50_000, 10_000, 10_000),
            "MIT",
            "https://github.com/zalandoresearch/fashion-mnist",
            "Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747",
        ),
        DatasetInfo(
            "kmnist",
            (28, 28, 1),
            10,
            with_unions(50_000, 10_000, 10_000),
            "CC BY-SA 4.0",
            "http://codh.rois.ac.jp/kmnist/index.html.en",
            "Clanuwat et al., Deep learning for classical Japanese literature, 2018, arXiv:1812.01718",
        ),
        DatasetInfo(
            "mnist",
            (28, 28, 1),
            10,
            with_unions(50_000, 10_000, 10_000),
            "CC BY-SA 3.0",
            "http://yann.lecun.com/exdb/mnist/",
            "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998",
        ),
        DatasetInfo(
            "spiral_tubes",
            (60, 50, 50, 1),
            0,
            with_unions(864, 108, 108),
            "none needed: generated",
            "tfzoo.data.spiral_tubes",
            "Yoo et al., Three-dimensional geometric modeling of the cochlea using helico-spiral approximation,"
            " IEEE Transactions on Biomedical Engineering 47(10), 2000 (the centre line)",
        ),
        DatasetInfo(
            "svhn_cropped",
            (32, 32, 3),
            10,
            with_unions(65_257, 8_000, 26_032),
            "non-commercial use only",
            "http://ufldl.stanford.edu/housenumbers/",
            "Netzer et al., Reading digits in natural images with unsupervised feature learning, 2011",
        ),
    )
}


def list_datasets() -> list[str]:
    """The names that `tfzoo.data.load` knows, sorted."""
    return sorted(CATALOGUE)
