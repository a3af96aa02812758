"""The chaos program: breaks a real fleet at random moments, and judges from outside whether anything was lost."""
