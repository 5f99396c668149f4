"""How much each word of a sentence matters, measured in four ways."""
