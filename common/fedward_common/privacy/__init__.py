"""What is disclosed about a patient, how much that is, and the noise that bounds it."""
