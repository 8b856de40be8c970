"""Where links wait until their hour is over, and how many callers share one mint."""
