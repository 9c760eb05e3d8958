"""Calibration of posteriors."""
