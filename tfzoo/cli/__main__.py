"""`python -m tfzoo.cli`, as the console script `tfzoo`."""

from tfzoo.cli import main

if __name__ == "__main__":
    main()
