"""Is this cell right, is this gradient right? What `rnnjax check` computes."""
