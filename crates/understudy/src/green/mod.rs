//! Green where it is DynamoDB: entries of the file as items, what a start asks of its sink, and what a plan
//! says of it.

pub(crate) mod attempt;
pub(crate) mod comparing;
pub(crate) mod definitions;
pub(crate) mod items;
pub(crate) mod look;
pub(crate) mod metering;
pub(crate) mod policy;
pub(crate) mod store;
