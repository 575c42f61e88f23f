//! Every feature of the origin against two independent clients: the library ureq, and the program curl.

mod common;
mod curl;
mod faulty;
mod serving;
