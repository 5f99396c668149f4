"""How the answer depends on the input vectors."""
