"""`python code/ops COMMAND --environment ENVIRONMENT`: what both CI systems do, and what a laptop can do in the same way."""

import sys

from commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
