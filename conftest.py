"""What every suite and test may use: the fixtures of the documented topologies."""

pytest_plugins = ["fixtures.documented"]
