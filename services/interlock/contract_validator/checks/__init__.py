"""The gate's checks: each takes what it judges and returns every violation it finds."""
