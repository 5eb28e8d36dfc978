"""CVAT as the review desk: the only place that knows its words."""
