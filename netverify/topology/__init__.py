"""What to build: topologies as frozen facts, their YAML files, and address management."""
