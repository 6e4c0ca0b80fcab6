"""Who reaches whom: probes and their outcomes, matrices of them, expected against observed."""
