//! The exact bytes by which one push alters one store.
