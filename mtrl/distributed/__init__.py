"""Ray: workers, collector, evaluators and launching. The only room that imports `ray`."""
