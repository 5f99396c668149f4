"""How important each word of a sentence is, measured in four ways."""
