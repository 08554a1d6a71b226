"""What the functional core is made of: gradients of batches of log densities, and the one loop."""

from tfzoo.math.gradients import value_and_gradient
from tfzoo.math.loops import repeat

__all__ = ["repeat", "value_and_gradient"]
