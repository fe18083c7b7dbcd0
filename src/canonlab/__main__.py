"""`python -m canonlab` is `canonlab`."""

from canonlab.cli import main

main()
