//! From hop addresses to zones to IEP candidates, without IO.
