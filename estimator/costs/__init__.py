"""What a load costs: at an API, on a rented machine, on hardware of one's own; where they break even; the cheapest."""
