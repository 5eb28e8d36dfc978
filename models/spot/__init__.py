"""A tracker of single objects that is told by a template what to follow, to fill gaps between the boxes of a person."""
