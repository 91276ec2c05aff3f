//! Rules on single rows: equal, different, or to be read again.
