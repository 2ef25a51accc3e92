//! Changegroups going out.
