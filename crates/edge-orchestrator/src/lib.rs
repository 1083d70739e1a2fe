//! Algorithm 1: topology task, placement task, dispatch service.
