"""Explore's "Your own picture": one look of a network at a picture, no sampling."""
