"""Settings of all tests."""

import torch

# The models of tests are too small for two threads to pay, and threads that wait for each other on a busy machine are
# slower by an order of magnitude.
torch.set_num_threads(1)
