"""How "nobody looked" is written where a label or a mask is a number.

What is not annotated counts in no loss and no metric; it is never taken for an absence.
"""

NOT_ANNOTATED = -1
"""In place of a class id, or of the 1 or 0 of one finding of a multi-label task."""

NOT_ANNOTATED_VOXEL = 255
"""In a mask of class ids, which therefore has 255 classes at most."""
