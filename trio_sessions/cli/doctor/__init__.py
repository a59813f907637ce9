"""What ``trio-sessions doctor`` looks at: a function a check, a frozen record as the result of each."""
