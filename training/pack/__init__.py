"""Makes a pack of training pictures out of snapshots of public repositories; see ../README.md, *A pack*."""
