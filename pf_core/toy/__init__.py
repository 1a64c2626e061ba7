"""The method on a plane, small enough to train while one watches (the paper's Fig. 5)."""
