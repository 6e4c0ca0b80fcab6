"""Results for people and machines: terminal text, JSON, HTML. Knows no kernel."""
