"""Example rules: who trains on what. One file a rule."""
