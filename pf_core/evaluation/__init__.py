"""How good networks and samplers are: judges, distances, studies, and one look at a picture."""
