"""`python -m i2i_rt` does what `i2i-rt` does."""

import sys

from i2i_rt.cli import main

if __name__ == "__main__":
    sys.exit(main())
