//! The nodes that steer: they say what is to happen, and the engine does it (`engine::container`, `engine::attempted`).
//!
//! - `loops`: `loop`, `for`, `while`, `repeat` say what their body runs for; `break` and `continue` which loop they mean;
//! - `attempt`: `try` only marks where its body begins; `catch` and `finally` may hold code.

pub mod attempt;
pub mod loops;
