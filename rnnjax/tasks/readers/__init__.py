"""Read users' data files: sequences, text, labelled sentences, images."""
