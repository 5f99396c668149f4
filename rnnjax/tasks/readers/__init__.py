"""Reading the files of users: sequences, text, labelled sentences, images."""
