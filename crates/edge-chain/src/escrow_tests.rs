//! The real bytecode: the attacks that it must withstand, what it costs, and the reference model beside it.

mod attacks;
mod chains;
mod costs;
mod disputes;
mod evm;
mod sequences;
mod tokens;
