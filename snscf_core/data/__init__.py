"""Training data: published data sets, read and kept decoded on one device, and the pairs made from them."""
