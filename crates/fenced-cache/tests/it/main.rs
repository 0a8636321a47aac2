//! One integration binary: the protocol on real servers, and its model.
