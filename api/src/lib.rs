//! HTTP API of Weir.
