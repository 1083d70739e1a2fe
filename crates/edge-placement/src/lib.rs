//! Where to run the edge service, why, and an independent check of the answer.
