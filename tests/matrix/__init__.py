"""A test for each row of the fault matrix; README.md here shows which."""
