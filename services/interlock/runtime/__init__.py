"""What every service shares: broker, stage loop, commit, dead letters, telemetry, settings."""
