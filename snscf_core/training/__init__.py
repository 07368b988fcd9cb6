"""Training: labels for the anchors, losses, the schedule, the loop, and validation by tracking."""
