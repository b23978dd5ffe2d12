"""One balancing method per file; `mtrl.balancing.METHODS` lists them."""
