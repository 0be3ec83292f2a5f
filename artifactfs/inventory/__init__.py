"""An inventory of a store: what is in it, as Parquet files beside it, so that a search reads these alone."""
