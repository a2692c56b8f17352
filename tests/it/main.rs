//! Tollgate's stories: one file per resource of the HTTP API, one test per promise, each on every stack there is.
