"""A model: encoder, recurrent layers and readout (`sequence`), loss (`objective`)."""
