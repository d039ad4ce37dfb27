"""The version of this distribution; the contract has one of its own."""

__version__ = "0.1.0"
