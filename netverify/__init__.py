"""netverify: proves what container networks really do on Linux."""

__version__ = "0.1.0"
