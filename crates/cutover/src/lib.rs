//! The gate: from dated evidence and a policy to open, or held with reasons. Holds no sockets and reads no clock.
