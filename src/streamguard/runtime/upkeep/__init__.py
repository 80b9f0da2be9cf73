"""What runs for as long as the process: leases, the watchdog, tasks, signals, readiness and health."""
