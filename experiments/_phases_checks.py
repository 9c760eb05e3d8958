def check(ds): return []
