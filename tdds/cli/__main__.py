"""``python -m tdds.cli``."""

from tdds.cli import main

main()
