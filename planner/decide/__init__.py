"""Pure decisions: an objective and draws of the fits in, one recommended number each out."""
