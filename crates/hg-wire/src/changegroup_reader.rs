//! Changegroups coming in.
