"""canonlab: which sequence architecture is better, and at what.

Importing the package loads nothing heavy; import the part you need, for example
`from canonlab.canon import Canon`.
"""

__version__ = "0.1.0"
