//! Wire formats of IP, UDP, ICMP and ICMPv6, and the quotes inside ICMP errors.
