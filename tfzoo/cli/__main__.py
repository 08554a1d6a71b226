"""`python -m tfzoo.cli`, as the console script `tfzoo`."""

from tfzoo.cli import main

main()
