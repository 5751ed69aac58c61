"""Everything the service knows. It runs on a laptop without a host."""

from typing import Final

VERSION: Final = "0.2.0"
"""Of the software, as pyproject.toml has it: on Azure it runs from its files, without the package's metadata."""
