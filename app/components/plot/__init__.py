"""Plotly in the page: one component that shows figures and follows a stream of them, and a canvas to draw points on."""
